import type { CairnClient } from '@cairn/client';
import {
  type ArtifactView,
  commitText,
  isEndedRun,
  isEndedStep,
  type Lineage,
  type LineageNode,
  labelTexts,
  lineageCommits,
  lineageTree,
  originText,
  type RunView,
  runStates,
  type StepView,
} from '@cairn/contract';
import type { Registrar, Session } from '../cli.ts';
import { findRun } from '../find-run.ts';
import { tableLines } from '../output/table.ts';
import type { Ui } from '../output/ui.ts';
import { formatAgo, formatBytes, formatCount, formatDuration, formatPercent, secondsBetween } from '../output/units.ts';
import { attemptTable, firstLine, notableAttempts } from '../watch/run-changes.ts';
import { failureText, isTimeless, warningLines } from '../watch/run-lines.ts';
import { newNotes } from '../watch/show-run.ts';
import { paintedRunState, progressParts, resultParts, stepSign } from '../watch/step-text.ts';
import { noteLines } from './runs.ts';

export function addShow({ program, action }: Registrar): void {
  program
    .command('show <run>')
    .description('shows a run: its steps with times, reuse, scores and failures, and where its artifacts are')
    .action(action(show));
}

async function show({ ui, signal, client, cli }: Session, text: string): Promise<undefined> {
  const api = await client();
  const found = await findRun(api, text, signal);
  const run = await api.getRun(found.id, { signal });
  const artifacts = await artifactsOf(api, run, signal);
  const attempts = await notableAttempts(api, run, signal);
  ui.json({ run, artifacts: [...artifacts.values()], attempts });
  for (const line of showLines(run, artifacts, { ...ui, now: cli.now() })) ui.line(line);
  for (const line of attemptTable(attempts, { ...ui, now: cli.now() })) ui.line(line);
  if (!isEndedRun(run.state) && !ui.isJson)
    for (const line of warningLines(run.stepViews, await newNotes(api, run, 0, signal), ui)) ui.line(line);
  return undefined;
}

/** The artifacts of a run's steps by id. */
export async function artifactsOf(client: CairnClient, run: RunView, signal: AbortSignal): Promise<Map<string, ArtifactView>> {
  const ids = [...new Set(run.stepViews.flatMap((step) => (step.artifact === null ? [] : [step.artifact.id])))];
  const views = await Promise.all(ids.map((id) => client.getArtifact(id, { signal })));
  return new Map(views.map((view) => [view.id, view]));
}

type ShowOptions = Pick<Ui, 'style' | 'glyphs'> & { now: Date };

/** A run for people: head, steps, artifacts, failures. */
function showLines(run: RunView, artifacts: ReadonlyMap<string, ArtifactView>, options: ShowOptions): string[] {
  const { style, now } = options;
  const field = (name: string, value: string): string => `  ${style.dim(name.padEnd(9))} ${value}`;
  const time = run.startedAt === null ? null : formatDuration(secondsBetween(run.startedAt, run.finishedAt, now));
  return [
    `${style.bold(run.name)}  ${paintedRunState(run.state, options)}${run.cause === null ? '' : ` (${run.cause})`}`,
    field('id', run.id),
    field('recipe', `${run.recipe} on ${run.dataset}`),
    field('submitted', `${formatAgo(run.createdAt, now)} by ${run.owner}, priority ${run.priority}`),
    ...contextLines(run, field),
    ...noteLines(run),
    ...(time === null ? [] : [field('time', time)]),
    ...(run.pinnedBy === null ? [] : [field('pinned', `by ${run.pinnedBy}: its results are kept`)]),
    ...(run.retiredAt === null ? [] : [field('results', removedText(run, now))]),
    ...showGate(run, field),
    ...runStates[run.state].actions.map((action) => field(action, `cairn ${action} ${run.name}`)),
    '',
    ...stepTable(run, options),
    ...artifactTable(run, artifacts, options),
    ...run.stepViews.flatMap((step) => failureLines(step, options)),
  ];
}

/** The gate of a run, and what became of it: for a verdict and a refusal, why. */
function showGate({ gate, verdict, state: runState }: RunView, field: (name: string, value: string) => string): string[] {
  if (gate === null) return verdict === 'none' ? [] : [field('gate', verdict)];
  const { judgement, state, problem } = gate;
  const more = judgement?.reason ?? problem;
  const waiting = isEndedRun(runState) ? 'not judged, because the run did not succeed' : 'judged when the run has succeeded';
  const outcome = judgement?.verdict ?? { waiting, judging: 'is being judged', judged: verdict, refused: 'not judged' }[state];
  const promotion = judgement?.promotion?.reason ?? null;
  return [field('gate', `${gate.gate}: ${outcome}`), ...[more, promotion].flatMap((text) => (text === null ? [] : [field('', text)]))];
}

/** That the retention policy removed results, and what to do. */
function removedText({ retiredAt, stepViews, name }: RunView, now: Date): string {
  const bytes = stepViews.reduce((sum, { removed }) => sum + (removed?.bytes ?? 0), 0);
  return `removed by the retention policy ${formatAgo(retiredAt ?? now, now)} (${formatBytes(bytes)}); \`cairn retry ${name}\` makes them again`;
}

/** Where a run comes from: what started it, the commit, its labels and its group. */
function contextLines({ origin, source, labels, group, onNewer }: RunView, field: (name: string, value: string) => string): string[] {
  const texts = labelTexts(labels);
  return [
    ...(origin.kind === 'person' ? [] : [field('origin', originText(origin))]),
    ...(source === null ? [] : [field('commit', commitText(source))]),
    ...(source?.url == null ? [] : [field('change', source.url)]),
    ...(texts.length === 0 ? [] : [field('labels', texts.join(', '))]),
    ...(group === null
      ? []
      : [field('group', `${group} (a newer run ${onNewer === 'cancel' ? 'cancels this one' : 'waits for this one'})`)]),
  ];
}

/** Why a step failed, or why the last attempt at an unfinished one did. */
function failureLines(step: StepView, { style }: Pick<Ui, 'style'>): string[] {
  if (step.failure === null || (isEndedStep(step.state) && step.state !== 'failed')) return [];
  if (step.state === 'failed') return ['', ...failureText(step).map(style.bad)];
  return ['', style.dim(`The last attempt at ${step.name} ended (${step.failure.cause}): ${firstLine(step.failure.message)}`)];
}

/** A run's steps: time, whether run or reused, attempts, and the result of each or what it waits for. */
function stepTable(run: RunView, options: ShowOptions): string[] {
  const { style, now } = options;
  const rows = run.stepViews.map((step) => {
    const details =
      step.waiting !== null ? [step.waiting.sentence] : [...progressOf(step), ...resultParts({ ...step, attempts: 0 }, options)];
    return [
      stepSign(step.state, options),
      step.name,
      step.kind,
      step.state,
      step.startedAt === null || isTimeless(step) ? '' : formatDuration(secondsBetween(step.startedAt, step.finishedAt, now)),
      step.attempts === 0 ? '' : String(step.attempts),
      step.waiting !== null ? style.dim(details.join('  ')) : details.join('  '),
    ];
  });
  const columns = [
    { title: '' },
    { title: 'step' },
    { title: 'kind' },
    { title: 'state' },
    { title: 'time', align: 'right' as const },
    { title: 'attempts', align: 'right' as const },
    { title: 'result' },
  ];
  return tableLines(columns, rows, { heading: style.dim });
}

const progressOf = (step: StepView): string[] => (step.state === 'active' && step.progress !== null ? progressParts(step, undefined) : []);

/** Where the artifacts of a run are, one line per step that has one. */
function artifactTable(run: RunView, artifacts: ReadonlyMap<string, ArtifactView>, { style }: Pick<Ui, 'style'>): string[] {
  const rows = run.stepViews.flatMap((step) => {
    const view = step.artifact === null ? undefined : artifacts.get(step.artifact.id);
    return view === undefined ? [] : [[step.name, view.kind, formatBytes(view.bytes), view.location]];
  });
  if (rows.length === 0) return [];
  const columns = [{ title: 'step' }, { title: 'artifact' }, { title: 'size', align: 'right' as const }, { title: 'location' }];
  return ['', ...tableLines(columns, rows, { heading: style.dim })];
}

export function addLineage({ program, action }: Registrar): void {
  program
    .command('lineage <of>')
    .description(
      'shows what a run, or a version of a model (NAME@VERSION or NAME@ALIAS), was made from: steps, lists, dataset, imported weights, other runs',
    )
    .action(action(showLineage));
}

async function showLineage({ ui, signal, client }: Session, of: string): Promise<undefined> {
  const api = await client();
  const lineage = of.includes('@')
    ? await api.getModelLineage(of, { signal })
    : await api.getRunLineage((await findRun(api, of, signal)).id, { signal });
  ui.json(lineage);
  for (const line of lineageLines(lineage, ui)) ui.line(line);
  return undefined;
}

/** The lineage as an indented tree. What was shown already is only named. */
function lineageLines(lineage: Lineage, { style }: Pick<Ui, 'style'>): string[] {
  const { of } = lineage;
  const lines = lineageTree(lineage).map(({ node, depth, role, lists, isRepeated }) => {
    const indent = '  '.repeat(depth + 1);
    const reading = role === null ? '' : `${style.dim(`${role}${lists.length === 0 ? '' : ` (${lists.join(', ')})`}:`)} `;
    return `${indent}${reading}${describe(node, of.run.id)}${isRepeated ? style.dim(', as above') : ''}`;
  });
  const commits = lineageCommits(lineage).map(
    ({ source, runs }) => `  commit ${commitText(source)}${runs.includes(of.run.name) ? '' : ` (${runs.join(', ')})`}`,
  );
  return [style.bold(of.model ?? of.run.name), ...commits, ...lines, ...(lineage.isComplete ? [] : [style.dim('  and more')])];
}

function describe(node: LineageNode, runId: string): string {
  switch (node.type) {
    case 'step': {
      const map = node.scores['mapAt100.end'] ?? node.scores.mapAt100;
      const from = node.reusedFrom === null ? '' : `, reused from ${node.reusedFrom.runName}`;
      const lists = node.lists.map(({ name, rows }) => `${name} ${formatCount(rows)}`).join(', ');
      return [
        `${node.run.id === runId ? '' : `${node.run.name}/`}${node.step}, ${node.state}${from}`,
        ...(map === undefined ? [] : [`mAP@100 ${formatPercent(map)}`]),
        ...(lists === '' ? [] : [lists]),
        ...(node.artifact === null ? [] : [node.artifact.id]),
      ].join('; ');
    }
    case 'weights':
      return `weights ${node.name}, ${node.backbone}, sha256 ${node.sha256.slice(0, 16)}${node.source === null ? '' : `, from ${node.source}`}`;
    case 'dataset':
      return `dataset ${node.name}@${node.version}, sha256 ${node.digest.slice(0, 16)}`;
    case 'artifact':
      return `${node.name} (${node.id})`;
  }
}
