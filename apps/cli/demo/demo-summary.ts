import type { CairnClient } from '@cairn/client';
import {
  type ArtifactView,
  type Comparison,
  needsReferences,
  neighboursDetails,
  type RunView,
  type StepView,
  stepSettings,
} from '@cairn/contract';
import { tableLines } from '../output/table.ts';
import type { Ui } from '../output/ui.ts';
import { formatCount, formatDuration, formatPercent, formatRange, plural, secondsBetween } from '../output/units.ts';
import { stepSign } from '../watch/step-text.ts';
import type { DemoOptions } from './demo-options.ts';

type Look = Pick<Ui, 'style' | 'glyphs'>;
type DemoResult = {
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
function scoreTable(steps: readonly StepView[], artifacts: DemoResult['artifacts'], { style }: Look): string[] {
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

/** An evaluation of several models that were searched together, and how. */
export type SearchedTogether = {
  evaluation: StepView;
  models: number;
  /** `off`, or how votes change similarities. */
  mode: string;
  /** The list whose images vote; null where none do. */
  references: string | null;
  /** Of the references, how many are images of the index; null while their counts are not known. */
  ofIndex: { shared: number; rows: number } | null;
};

/** A rerank's evaluation, and what it gains over the same search without a rerank. */
type RerankGain = { searched: SearchedTogether; comparison: Comparison };

/** The evaluations of searches of several models together, that without a rerank first. */
export function searchedTogether(steps: readonly StepView[], artifacts: ReadonlyMap<string, ArtifactView>): SearchedTogether[] {
  return steps
    .flatMap((evaluation): SearchedTogether[] => {
      if (evaluation.kind !== 'evaluate') return [];
      const search = steps.find(({ name, kind }) => kind === 'rerank' && evaluation.needs.includes(name));
      const settings = search === undefined ? undefined : stepSettings.rerank.safeParse(search.settings).data;
      if (search === undefined || settings === undefined) return [];
      const votes = needsReferences(settings.rerank);
      const details = search.artifact === null ? undefined : artifacts.get(search.artifact.id)?.details;
      const counts = neighboursDetails.safeParse(details).data?.references;
      return [
        {
          evaluation,
          models: Object.keys(settings.weights).length,
          mode: settings.rerank.mode,
          references: votes ? settings.references : null,
          ofIndex: counts == null ? null : { shared: counts.ofGallery, rows: counts.rows },
        },
      ];
    })
    .sort((a, b) => Number(b.mode === 'off') - Number(a.mode === 'off'));
}

/** Compares each evaluation of a rerank with that of the same search without one; empty for a run that does not have both. */
export async function rerankGains(
  client: CairnClient,
  run: RunView,
  artifacts: ReadonlyMap<string, ArtifactView>,
  signal: AbortSignal,
): Promise<RerankGain[]> {
  const [plain, ...others] = searchedTogether(run.stepViews, artifacts);
  const before = plain?.mode === 'off' ? plain.evaluation.artifact : null;
  if (before == null) return [];
  const gains: RerankGain[] = [];
  for (const searched of others) {
    const after = searched.evaluation.artifact;
    if (after === null) continue;
    const { comparison } = await client.compareEvaluations({ a: before.id, b: after.id, show: 0 }, { signal });
    gains.push({ searched, comparison });
  }
  return gains;
}

/**
 * What the rerank gains, and how much of it is the self-match: references that are images of the index vote with the labels from which the
 * ground truths are derived. Votes of references without them show what remains.
 */
function gainSentences(gains: readonly RerankGain[]): string[] {
  const known = gains.flatMap(({ searched, comparison: { all } }) => (all === null ? [] : [{ searched, all }]));
  const own = known.find(({ searched }) => (searched.ofIndex?.shared ?? 0) > 0);
  const foreign = known.find(({ searched }) => searched.ofIndex?.shared === 0);
  const change = ({ all }: (typeof known)[number]): string =>
    `${points(all.difference)} points of mAP@100 (95 % interval ${points(all.low)} to ${points(all.high)})`;
  const lines = known.map((gain) => {
    const { references, mode, ofIndex } = gain.searched;
    const voters = references === null ? '' : ` with votes of ${references}`;
    const which =
      ofIndex === null || references === null
        ? ''
        : `, of whose ${formatCount(ofIndex.rows)} images ${ofIndex.shared === 0 ? 'none is' : `${formatCount(ofIndex.shared)} are`} in the index`;
    return `Rerank ${mode}${voters}${which}: ${change(gain)} against no rerank.`;
  });
  if (own === undefined || foreign === undefined) return lines;
  const [total, rest] = [own.all.difference, foreign.all.difference];
  if (total <= rest) return [...lines, 'The self-match, images of the index that vote with their own labels, gains nothing here.'];
  const size = (share: number): string => (share * 100).toFixed(1);
  const isChance = foreign.all.low <= 0 && foreign.all.high >= 0;
  return [
    ...lines,
    `So ${size(total - rest)} of the ${size(total)} points are the self-match: images of the index vote with their own labels, from which the ground truths come.${isChance ? ' What remains cannot be told from chance.' : ''}`,
  ];
}

const points = (share: number): string => `${share < 0 ? '' : '+'}${(share * 100).toFixed(1)}`;
