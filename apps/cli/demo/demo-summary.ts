import type { ArtifactView, RunView, StepView } from '@cairn/contract';
import { tableLines } from '../output/table.ts';
import type { Ui } from '../output/ui.ts';
import { formatDuration, formatPercent, formatRange, plural, secondsBetween } from '../output/units.ts';
import { stepSign } from '../watch/step-text.ts';
import type { DemoOptions } from './demo-options.ts';
import { gainSentences, type RerankGain, searchedTogether } from './rerank-gain.ts';

type Look = Pick<Ui, 'style' | 'glyphs'>;
export type DemoResult = {
  run: RunView;
  artifacts: ReadonlyMap<string, ArtifactView>;
  /** What each rerank gains over no rerank, of a run that has both. */
  gains: readonly RerankGain[];
  /** From the demo's start to now. */
  seconds: number;
};

/** What the demo came to: the steps, the scores stage by stage, where the results lie, the time. */
export function demoSummary({ run, artifacts, gains, seconds }: DemoResult, options: Look & { now: Date }): string[] {
  const { style } = options;
  const steps = run.stepViews;
  const isAllReused = steps.length > 0 && steps.filter(mayBeReused).every((step) => step.state === 'reused');
  const reused = steps.filter((step) => step.state === 'reused').length;
  return [
    '',
    ...stepTable(run, artifacts, options),
    '',
    ...scoreTable(steps, artifacts, options),
    ...gainSentences(gains).map(style.warn),
    '',
    ...resultLines(steps, artifacts, options),
    '',
    isAllReused
      ? `${style.good('Every step was reused')}: nothing they depend on has changed. ${style.dim('(Registering a model is never reused.)')}`
      : `${reused === 0 ? 'No step was reused' : `${reused} of ${steps.length} steps were reused`}; the same demo again reuses them all.`,
    `Total time ${style.bold(formatDuration(seconds))}`,
  ];
}

/** `register` makes a version of the model for each run. */
function mayBeReused(step: StepView): boolean {
  return step.kind !== 'register';
}

function stepTable(run: RunView, artifacts: DemoResult['artifacts'], options: Look & { now: Date }): string[] {
  const { style, now } = options;
  const rows = run.stepViews.map((step) => [
    stepSign(step.state, options),
    step.name,
    step.state === 'reused' ? style.good('reused') : 'run',
    step.startedAt === null || step.state === 'reused' ? '' : formatDuration(secondsBetween(step.startedAt, step.finishedAt, now)),
    style.dim(step.artifact === null ? '' : (artifacts.get(step.artifact.id)?.location ?? step.artifact.prefix)),
  ]);
  const columns = [{ title: '' }, { title: 'step' }, { title: '' }, { title: 'time', align: 'right' as const }, { title: 'artifact' }];
  return tableLines(columns, rows, { heading: style.dim });
}

/** A score, its interval if it has one, and the score that it is compared with. */
type Score = { name: string; score: number; around?: string; before?: number | undefined };

/** mAP@100 of the untrained network, after each stage and of what was exported, with the change; then of several models together. */
export function scoreTable(steps: readonly StepView[], artifacts: DemoResult['artifacts'], { style }: Look): string[] {
  const models = steps.filter(({ kind }) => kind === 'train').filter((step) => stageBefore(step, steps) === undefined).length;
  const scores = [...steps.flatMap((step) => scoresOf(step, steps, models)), ...scoresTogether(steps, artifacts)];
  if (scores.length === 0) return [];
  const hasIntervals = scores.some(({ around }) => around !== undefined && around !== '');
  const rows = scores.map(({ name, score, around = '', before }) => {
    const points = before === undefined ? '' : ((score - before) * 100).toFixed(1).replace(/^(?=[^-])/, '+');
    return [name, style.bold(formatPercent(score)), ...(hasIntervals ? [style.dim(around)] : []), style.dim(points)];
  });
  const columns = ['mAP@100', ...(hasIntervals ? ['95 % interval'] : []), 'change'].map((title) => ({ title, align: 'right' as const }));
  return tableLines([{ title: '' }, ...columns], rows, { heading: style.dim });
}

/** The interval of an evaluation's score: `60.2 to 73.5`. */
function intervalOf({ scores }: StepView): string {
  const [low, high] = [scores['mapAt100.low'], scores['mapAt100.high']];
  return low === undefined || high === undefined ? '' : formatRange(low, high);
}

/** The scores of a training stage, or of the evaluation of one model. */
function scoresOf(step: StepView, steps: readonly StepView[], models: number): Score[] {
  const earlier = stageBefore(step, steps)?.scores['mapAt100.end'];
  const of = (name: string, score: number | undefined, before?: number): Score[] =>
    score === undefined ? [] : [{ name, score, before, around: step.kind === 'evaluate' ? intervalOf(step) : '' }];
  if (step.kind === 'evaluate' && searchOf(step, steps)?.kind !== 'rerank')
    return of(models > 1 ? `${step.name}, as exported` : 'exported model, evaluated', step.scores.mapAt100, earlier);
  if (step.kind !== 'train') return [];
  const start = step.scores['mapAt100.start'];
  const untrained = models > 1 ? `before ${step.name}` : 'untrained';
  return [...of(untrained, start), ...of(`after ${step.name}`, step.scores['mapAt100.end'], start ?? earlier)];
}

/** The evaluations of several models together, that without a rerank first: the others are compared with it. */
function scoresTogether(steps: readonly StepView[], artifacts: DemoResult['artifacts']): Score[] {
  const found = searchedTogether(steps, artifacts);
  const [first] = found;
  const plain = first?.mode === 'off' ? first.evaluation.scores.mapAt100 : undefined;
  return found.flatMap(({ evaluation, models, mode, references }) => {
    const score = evaluation.scores.mapAt100;
    if (score === undefined) return [];
    const how = mode === 'off' ? 'no rerank' : `rerank ${mode}${references === null ? '' : ` of ${references}`}`;
    const name = `${plural(models, 'model')} together, ${how}`;
    return [{ name, score, around: intervalOf(evaluation), before: mode === 'off' ? undefined : plain }];
  });
}

const needed = (step: StepView, steps: readonly StepView[]): StepView[] => steps.filter(({ name }) => step.needs.includes(name));

const searchOf = (step: StepView, steps: readonly StepView[]): StepView | undefined =>
  needed(step, steps).find(({ kind }) => kind === 'search' || kind === 'rerank');

/** The stage whose weights a step works with. */
function stageBefore(step: StepView, steps: readonly StepView[]): StepView | undefined {
  for (const before of needed(step, steps)) {
    const stage = before.kind === 'train' ? before : stageBefore(before, steps);
    if (stage !== undefined) return stage;
  }
  return undefined;
}

/** Where the features and the submission lie. */
function resultLines(steps: readonly StepView[], artifacts: DemoResult['artifacts'], { style }: Look): string[] {
  const locationOf = (step: StepView | undefined): string | null =>
    step?.artifact == null ? null : (artifacts.get(step.artifact.id)?.location ?? null);
  const evaluations = steps.filter((step) => step.kind === 'evaluate');
  const rows = [
    ...steps.flatMap((step) => {
      const location = step.kind === 'extract' ? locationOf(step) : null;
      return location === null ? [] : [[`features (${step.name.replace(/(^|-)extract_/, '$1')})`, location]];
    }),
    ...evaluations.flatMap((step) => {
      const location = locationOf(step);
      const name = evaluations.length === 1 ? 'submission.csv' : `submission.csv (${step.name})`;
      return location === null ? [] : [[name, `${location.replace(/\/$/, '')}/submission.csv`]];
    }),
  ];
  return rows.length === 0
    ? []
    : tableLines(
        [{ title: '' }, { title: '' }],
        rows.map(([name = '', place = '']) => [style.dim(name), place]),
      );
}

/** How to look further: the commands, for a service that stays up or one that has to be started again. */
export function furtherLines(
  run: RunView,
  options: Pick<DemoOptions, 'home' | 'isKept' | 'storage' | 'images'>,
  { style }: Look,
): string[] {
  const home = `--home ${/^[\w./~-]+$/.test(options.home) ? options.home : `'${options.home.replaceAll("'", "'\\''")}'`}`;
  const commands = [
    ...(options.isKept ? [] : [[upCommand(options, home), 'starts the service again']]),
    [`npx cairn ${home} show ${run.name}`, 'the run, its steps and artifacts'],
    [`npx cairn ${home} logs ${run.name} ${run.stepViews.find(({ kind }) => kind === 'train')?.name ?? 'export'}`, 'the log of a step'],
    [`npx cairn ${home} models`, 'the registered models'],
    ...compareCommand(run, home),
  ];
  return [
    '',
    style.dim('To look further:'),
    ...tableLines(
      [{ title: '' }, { title: '' }],
      commands.map(([command = '', what = '']) => [command, style.dim(what)]),
      { indent: '  ' },
    ),
  ];
}

/** The bucket runs only with the demo. */
function upCommand({ storage, images }: Pick<DemoOptions, 'storage' | 'images'>, home: string): string {
  if (storage === 'folder' && images === 'folder') return `npx cairn ${home} up`;
  return `npm run demo -- ${home} --storage ${storage} --images ${images} --keep`;
}

/** How to compare the last two evaluations of a run with several. */
function compareCommand({ name, stepViews }: RunView, home: string): string[][] {
  const [first, second] = stepViews.filter(({ kind }) => kind === 'evaluate').slice(-2);
  if (first === undefined || second === undefined) return [];
  return [[`npx cairn ${home} compare ${name}/${first.name} ${name}/${second.name}`, 'the queries that changed most']];
}
