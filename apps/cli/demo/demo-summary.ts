import type { ArtifactView, RunView, StepView } from '@cairn/contract';
import { tableLines } from '../output/table.ts';
import type { Ui } from '../output/ui.ts';
import { formatDuration, formatPercent, secondsBetween } from '../output/units.ts';
import { stepSign } from '../watch/step-text.ts';

type Look = Pick<Ui, 'style' | 'glyphs'>;
export type DemoResult = {
  run: RunView;
  artifacts: ReadonlyMap<string, ArtifactView>;
  /** From the demo's start to now. */
  seconds: number;
};

/** What the demo came to: the steps, the scores stage by stage, where the results lie, the time. */
export function demoSummary({ run, artifacts, seconds }: DemoResult, options: Look & { now: Date }): string[] {
  const { style } = options;
  const steps = run.stepViews;
  const isAllReused = steps.length > 0 && steps.filter(mayBeReused).every((step) => step.state === 'reused');
  const reused = steps.filter((step) => step.state === 'reused').length;
  return [
    '',
    ...stepTable(run, artifacts, options),
    '',
    ...scoreTable(steps, options),
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

/** mAP@100 of the untrained network and after each stage, with the change. */
export function scoreTable(steps: readonly StepView[], { style }: Look): string[] {
  const stages = steps.filter((step) => step.kind === 'train');
  const evaluation = steps.find((step) => step.kind === 'evaluate')?.scores.mapAt100;
  const start = stages[0]?.scores['mapAt100.start'];
  const scores = [
    ...(start === undefined ? [] : [{ name: 'untrained', score: start }]),
    ...stages.flatMap((stage) => {
      const score = stage.scores['mapAt100.end'];
      return score === undefined ? [] : [{ name: `after ${stage.name}`, score }];
    }),
    ...(evaluation === undefined ? [] : [{ name: 'exported model, evaluated', score: evaluation }]),
  ];
  if (scores.length === 0) return [];
  const rows = scores.map(({ name, score }, index) => {
    const before = scores[index - 1]?.score;
    const points = before === undefined ? '' : ((score - before) * 100).toFixed(1).replace(/^(?=[^-])/, '+');
    return [name, style.bold(formatPercent(score)), style.dim(points)];
  });
  const columns = [{ title: '' }, { title: 'mAP@100', align: 'right' as const }, { title: 'change', align: 'right' as const }];
  return tableLines(columns, rows, { heading: style.dim });
}

/** Where the features and the submission lie. */
function resultLines(steps: readonly StepView[], artifacts: DemoResult['artifacts'], { style }: Look): string[] {
  const locationOf = (step: StepView | undefined): string | null =>
    step?.artifact == null ? null : (artifacts.get(step.artifact.id)?.location ?? null);
  const evaluation = locationOf(steps.find((step) => step.kind === 'evaluate'));
  const rows = [
    ...steps.flatMap((step) => {
      const location = step.kind === 'extract' ? locationOf(step) : null;
      return location === null ? [] : [[`features (${step.name.replace(/^extract_/, '')})`, location]];
    }),
    ...(evaluation === null ? [] : [['submission.csv', `${evaluation.replace(/\/$/, '')}/submission.csv`]]),
  ];
  return rows.length === 0
    ? []
    : tableLines(
        [{ title: '' }, { title: '' }],
        rows.map(([name = '', place = '']) => [style.dim(name), place]),
      );
}

/** How to look further: the commands, for a service that stays up or one that has to be started again. */
export function furtherLines(run: RunView, options: { home: string; isKept: boolean }, { style }: Look): string[] {
  const home = `--home ${/^[\w./~-]+$/.test(options.home) ? options.home : `'${options.home.replaceAll("'", "'\\''")}'`}`;
  const commands = [
    ...(options.isKept ? [] : [[`npx cairn ${home} up`, 'starts the service again']]),
    [`npx cairn ${home} show ${run.name}`, 'the run, its steps and artifacts'],
    [`npx cairn ${home} logs ${run.name} ${run.stepViews.find(({ kind }) => kind === 'train')?.name ?? 'export'}`, 'the log of a step'],
    [`npx cairn ${home} models`, 'the registered models'],
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
