import { appendFile, open, writeFile } from 'node:fs/promises';
import type { CairnClient } from '@cairn/client';
import {
  CairnError,
  labelsOf,
  type OnNewer,
  onNewer,
  type PlanView,
  parseGate,
  type RecipeInput,
  type RunView,
  type StepEstimate,
  type SubmitRequestInput,
} from '@cairn/contract';
import { runComment } from '@cairn/runtime';
import { type Command, Option } from 'commander';
import type { Registrar, Session } from '../cli.ts';
import { exitCodeOfRun, exitCodes } from '../exit-codes.ts';
import { tableLines } from '../output/table.ts';
import type { Ui } from '../output/ui.ts';
import { formatDuration, formatNumber, plural } from '../output/units.ts';
import { parseSetOptions, readRecipe } from '../recipe/read-recipe.ts';
import { readSource } from '../source-of-environment.ts';
import { showRun } from '../watch/show-run.ts';
import { annotationsOf, type GateOptions, gateOf, outcomeOf, withRunGate } from './gate.ts';
import { collect, duration, label, wholeNumber } from './options.ts';

type SubmitOptions = SubmissionOptions &
  ContextOptions & { idempotencyKey?: string; wait?: true; timeout?: number; dryRun?: true; outputs?: string };

export type ContextOptions = { label?: string[]; group?: string; onNewer: OnNewer };

export function addSubmit({ program, action }: Registrar): void {
  const command = withContext(withSubmission(program.command('submit').description('submits a run of a recipe')))
    .option('--idempotency-key <key>', 'the same key twice is the same run: for CI jobs that may be repeated')
    .option('-w, --wait', "shows the run until it is over; the exit code is the run's")
    .option('--timeout <time>', 'with --wait: stops waiting after this time, such as 90m, 12h or 3d; the run continues', duration)
    .option('--dry-run', 'only shows the plan: what would run, what would be reused, and why');
  withRunGate(command)
    .option('--comment-file <file.md>', 'with --wait: writes the outcome of the run and its gate as Markdown')
    .option('--outputs <file>', 'with --wait: appends CAIRN_RUN, CAIRN_RUN_ID, CAIRN_STATE and CAIRN_VERDICT, one NAME=VALUE per line')
    .action(action(submit));
  withSubmission(program.command('plan').description('shows what a submission would run and what it would reuse, and why')).action(
    action(plan),
  );
}

/** The options that define a submission. */
function withSubmission(command: Command): Command {
  return withRecipe(command).option('-n, --name <name>', 'a name for the run (default: the recipe and a number)');
}

/** The options that say what runs. */
export function withRecipe(command: Command): Command {
  return command
    .option('-f, --file <recipe.yaml>', 'a recipe as YAML; - reads it from stdin')
    .option('-r, --recipe <name>', 'a recipe of the service, such as mini')
    .option('-s, --set <path=value>', 'overrides a setting, such as stages.384.epochs=2, or stages."v1.5".epochs=2 (repeatable)', collect)
    .option('-d, --dataset <name>', "name or name@version (default: the recipe's own)")
    .option('-u, --until <steps>', 'only these steps and those they need: --until export, or --until extract_index,extract_query')
    .option('--priority <number>', 'higher runs first, -100 to 100', wholeNumber(-100, 100))
    .option('--no-reuse [steps]', 'runs every step again, or the listed ones: --no-reuse=384,export');
}

/** The options that say where a run belongs. */
function withContext(command: Command): Command {
  const group = 'a concurrency group: one run of it runs at a time, and of those that wait only the newest does';
  return withLabels(command, group).addOption(
    new Option('--on-newer <policy>', 'what happens to this run when a newer one enters its group: it ends first, or is cancelled')
      .choices(onNewer.options)
      .default('queue'),
  );
}

export function withLabels(command: Command, group: string): Command {
  return command.option('--label <key=value>', 'labels the run, such as team=search (repeatable)', label).option('--group <name>', group);
}

async function submit(session: Session, options: SubmitOptions): Promise<number | undefined> {
  const { ui, signal, cli } = session;
  if (options.dryRun) return plan(session, options);
  requireOptions(options);
  if (options.gate !== undefined) parseGate(options.gate);
  if (options.commentFile !== undefined) await requireWritable('The comment', '--comment-file', options.commentFile);
  if (options.outputs !== undefined) await requireWritable('The outputs', '--outputs', options.outputs);
  const client = await session.client();
  const body = await submissionOf(options, (path) => readRecipe(path, cli.stdin, signal));
  const run = await client.submitRun(
    { ...body, ...(await contextOf(session, options)) },
    { idempotencyKey: options.idempotencyKey, signal },
  );
  const submitted = `${ui.style.bold(run.name)} submitted: ${plural(run.steps.total, 'step')} of ${run.recipe} on ${run.dataset}`;
  if (options.wait) {
    ui.note(`${submitted}  ${ui.style.dim(run.id)}`);
    return waitAndComment(session, client, run, options);
  }
  ui.json(run);
  ui.line(`${submitted}  ${ui.style.dim(run.id)}`);
  if (run.state === 'held') ui.note(ui.style.warn(`It is held: ${run.cause ?? run.now}.`));
  ui.note(ui.style.dim(`Watch it with \`cairn watch ${run.name}\`.`));
  return undefined;
}

/** What the submission says about where it comes from. In a job of CI the commit is that of the job. */
async function contextOf({ cli }: Session, options: ContextOptions): Promise<Partial<SubmitRequestInput>> {
  const source = await readSource(cli.env);
  return {
    ...(source === null ? {} : { source }),
    ...labelsAndGroup(options),
    ...(options.group === undefined ? {} : { onNewer: options.onNewer }),
  };
}

export const labelsAndGroup = ({ label: labels, group }: Omit<ContextOptions, 'onNewer'>) => ({
  ...(labels === undefined ? {} : { labels: labelsOf(labels) }),
  ...(group === undefined ? {} : { group }),
});

/** Shows the run until it is over. When the wait is interrupted, the run continues, and a note says how to return to it. */
export async function waitForRun(session: Session, client: CairnClient, run: { id: string; name: string }): Promise<number> {
  return exitCodeOfRun(await watchToEnd(session, client, run));
}

async function watchToEnd({ ui, signal, cli }: Session, client: CairnClient, run: { id: string; name: string }): Promise<RunView> {
  const sayHowToReturn = (): void =>
    ui.note(`\nThe run continues. \`cairn watch ${run.name}\` shows it again, \`cairn cancel ${run.name}\` ends it.`);
  signal.addEventListener('abort', sayHowToReturn, { once: true });
  try {
    return await showRun({ client, runId: run.id, ui, signal, now: cli.now });
  } finally {
    signal.removeEventListener('abort', sayHowToReturn);
  }
}

/** Waits for a run and the verdict of its gate, and writes the comment. */
async function waitAndComment(
  session: Session,
  client: CairnClient,
  run: { id: string; name: string },
  { timeout, commentFile, outputs }: SubmitOptions,
): Promise<number> {
  const { ui, signal, cli } = session;
  const limit = timeout === undefined ? null : AbortSignal.timeout(timeout);
  const waiting = limit === null ? session : { ...session, signal: AbortSignal.any([signal, limit]) };
  const ended = await watchToEnd(waiting, client, run).catch((error: unknown) => {
    if (limit?.aborted !== true || signal.aborted) throw error;
    ui.note(`${run.name} was not over after ${formatDuration((timeout ?? 0) / 1000)} (--timeout).`);
    return null;
  });
  const code = ended === null ? exitCodes.timeout.code : exitCodeOfRun(ended);
  const isInActions = cli.env.GITHUB_ACTIONS === 'true';
  const summaryFile = isInActions ? cli.env.GITHUB_STEP_SUMMARY : undefined;
  if (commentFile === undefined && !isInActions && outputs === undefined) return code;
  try {
    const view = ended ?? (await client.getRun(run.id, { signal }));
    if (outputs !== undefined) await appendFile(outputs, outputsOf(view));
    const comment = runComment(view, { ...outcomeOf(view), url: client.url, page: `${client.url}/runs/${view.id}`, now: cli.now() });
    if (isInActions) for (const line of annotationsOf(view)) ui.note(line);
    if (commentFile !== undefined) await writeFile(commentFile, comment);
    if (summaryFile !== undefined) await appendFile(summaryFile, comment);
    if (commentFile !== undefined) ui.note(ui.style.dim(`Comment written to ${commentFile}`));
  } catch (error) {
    if (signal.aborted) throw error;
    // The exit code has to be that of the run and its gate, whatever became of the comment.
    ui.note(ui.style.warn(`What became of the run could not be written: ${error instanceof Error ? error.message : String(error)}`));
  }
  return code;
}

/** For the steps and jobs after this one. None of the values has a space or a quote. */
function outputsOf({ id, name, state, verdict, gate }: RunView): string {
  const lines = { CAIRN_RUN: name, CAIRN_RUN_ID: id, CAIRN_STATE: state, CAIRN_VERDICT: gate?.judgement?.verdict ?? verdict };
  return Object.entries(lines)
    .map(([variable, value]) => `${variable}=${value}\n`)
    .join('');
}

/** It is written when the run is over, perhaps in days: that it cannot be is found out before. */
async function requireWritable(what: string, option: string, file: string): Promise<void> {
  try {
    const handle = await open(file, 'a');
    await handle.close();
  } catch (cause) {
    throw new CairnError('invalid_request', `${what} cannot be written to ${file}: ${cause instanceof Error ? cause.message : cause}`, {
      cause,
      details: { remedy: `Pass a file in an existing folder in which you may write (${option}).` },
    });
  }
}

function requireOptions({ wait, commentFile, outputs, timeout }: SubmitOptions): void {
  const option =
    commentFile !== undefined ? '--comment-file' : outputs !== undefined ? '--outputs' : timeout !== undefined ? '--timeout' : null;
  if (!wait && option !== null) throw new CairnError('invalid_request', `${option} needs --wait`, { details: { remedy: 'Add --wait.' } });
}

async function plan(session: Session, options: SubmissionOptions): Promise<undefined> {
  const { ui, signal, cli } = session;
  const client = await session.client();
  const view = await client.planRun(await submissionOf(options, (path) => readRecipe(path, cli.stdin, signal)), { signal });
  ui.json(view);
  for (const line of planLines(view, ui)) ui.line(line);
  return undefined;
}

/** The plan as a table: what would happen to each step and why. */
function planLines(view: PlanView, { style, glyphs }: Pick<Ui, 'style' | 'glyphs'>): string[] {
  const words: Record<PlanView['steps'][number]['action'], string> = {
    run: style.accent('run'),
    reuse: style.good(`${glyphs.reused} reuse`),
    'wait-for-same': style.warn('wait'),
  };
  const reused = view.steps.filter((step) => step.action === 'reuse').length;
  const rows = view.steps.map((step) => [
    step.name,
    step.kind,
    words[step.action],
    step.slots > 0 ? String(step.slots) : '',
    hours(step.estimate),
    memory(step.estimate),
    style.dim([step.why, ...step.given.map(givenText)].join('; ')),
  ]);
  const columns = [
    { title: 'step' },
    { title: 'kind' },
    { title: 'action' },
    { title: 'slots', align: 'right' as const },
    { title: 'GPU-hours', align: 'right' as const },
    { title: 'GPU memory', align: 'right' as const },
    { title: 'why' },
  ];
  const splits = view.steps.flatMap(({ name, split }) => (split === null ? [] : [`${name}: ${split}`]));
  const bases = view.steps.flatMap(({ name, action, estimate }) => (action === 'run' && estimate ? [`${name}: ${estimate.basis}`] : []));
  const section = (title: string, lines: readonly string[]): string[] =>
    lines.length === 0 ? [] : ['', title, ...lines.map((line) => style.dim(`  ${line}`))];
  return [
    `${style.bold(view.recipe.name)} on ${view.dataset}: ${plural(view.steps.length, 'step')}, ${reused === 0 ? 'none' : reused} reused`,
    '',
    ...tableLines(columns, rows, { heading: style.dim }),
    '',
    estimateText(view.estimate),
    ...section('How the estimates were made:', bases),
    ...section('How an optimizer step is split, and what changes with the number of GPUs:', splits),
  ];
}

function givenText({ name, sha256 }: PlanView['steps'][number]['given'][number]): string {
  return sha256 === null ? `needs ${name}` : `from ${name}, sha256 ${sha256.slice(0, 16)}`;
}

function estimateText(estimate: StepEstimate): string {
  const needs = [
    ...(estimate.gpuHours ? [`${hours(estimate)} GPU-hours`] : []),
    ...(estimate.gpuMemoryGib === null ? [] : [`at most ${memory(estimate)} per GPU`]),
  ];
  return needs.length === 0 ? `Estimate: ${estimate.basis}` : `Estimate: ${needs.join(', ')} (${estimate.basis})`;
}

const hours = (estimate: StepEstimate | null): string => (estimate?.gpuHours == null ? '' : formatNumber(estimate.gpuHours));
const memory = (estimate: StepEstimate | null): string =>
  estimate?.gpuMemoryGib == null ? '' : `${formatNumber(estimate.gpuMemoryGib)} GiB`;

/** The options of `submit` and `plan`, as commander gives them. */
export type SubmissionOptions = GateOptions & {
  file?: string;
  recipe?: string;
  set?: string[];
  dataset?: string;
  name?: string;
  priority?: number;
  until?: string;
  /** From `--no-reuse[=step,...]`: true when absent, false when bare, else the steps. */
  reuse: boolean | string;
};

/** The submission for the options. `readRecipe` reads the file of `-f`. */
export async function submissionOf(
  options: SubmissionOptions,
  readRecipe: (path: string) => Promise<RecipeInput>,
): Promise<SubmitRequestInput> {
  if ((options.file === undefined) === (options.recipe === undefined)) {
    const what = options.file === undefined ? 'no recipe is given' : '-f and --recipe both give a recipe';
    throw new CairnError('invalid_request', what, {
      details: { remedy: 'Use either -f FILE or --recipe NAME; `cairn recipes` lists the names.' },
    });
  }
  const set = parseSetOptions(options.set ?? []);
  return {
    recipe: options.file === undefined ? (options.recipe ?? '') : await readRecipe(options.file),
    ...(options.dataset === undefined ? {} : { dataset: options.dataset }),
    ...(options.name === undefined ? {} : { name: options.name }),
    ...(options.priority === undefined ? {} : { priority: options.priority }),
    ...(options.until === undefined ? {} : { until: stepsOf(options.until) }),
    ...(Object.keys(set).length === 0 ? {} : { set }),
    ...gateOf(options),
    ...(options.reuse === true ? {} : { noReuse: options.reuse === false ? true : stepsOf(options.reuse) }),
  };
}

function stepsOf(list: string): string[] {
  return list
    .split(',')
    .map((name) => name.trim())
    .filter((name) => name !== '');
}
