import { CairnError, maxComparedRuns, type RunComparison, type SettingDifference } from '@cairn/contract';
import type { Registrar, Session } from '../cli.ts';
import { findRun } from '../find-run.ts';
import { tableLines } from '../output/table.ts';
import type { Ui } from '../output/ui.ts';
import { formatNumber, formatPercent } from '../output/units.ts';

export function addDiff({ program, action }: Registrar): void {
  program
    .command('diff <runs...>')
    .description(
      'compares runs: the settings that differ, and the mAP@100, GPU-hours and reuse of each step; `compare` compares two evaluations query by query',
    )
    .action(action(diff));
}

async function diff({ ui, signal, client }: Session, texts: readonly string[]): Promise<undefined> {
  if (texts.length < 2 || texts.length > maxComparedRuns) {
    throw new CairnError('invalid_request', `${texts.length} ${texts.length === 1 ? 'run is' : 'runs are'} given`, {
      details: { remedy: `Name two to ${maxComparedRuns} runs.` },
    });
  }
  const api = await client();
  const ids: string[] = [];
  for (const text of texts) ids.push((await findRun(api, text, signal)).id);
  const comparison = await api.compareRuns(ids, { signal });
  ui.json(comparison);
  for (const line of differenceLines(comparison, ui)) ui.line(line);
  return undefined;
}

/** The comparison as two tables with a column a run. */
export function differenceLines(
  { runs, differences, differencesTotal, steps }: RunComparison,
  { style, glyphs }: Pick<Ui, 'style' | 'glyphs'>,
): string[] {
  const columns = runs.map(({ name }) => ({ title: name }));
  const settings = differences.map(({ step, path, of }) => [step === null ? path : `${step}.${path}`, ...of.map(valueText)]);
  const more = differencesTotal - differences.length;
  const outcomes = steps.map(({ name, of }) => [
    name,
    ...of.map((step) => {
      if (step === null) return '';
      const map = step.scores['mapAt100.end'] ?? step.scores.mapAt100;
      return [
        step.reusedFrom === null ? step.state : `${glyphs.reused} ${step.reusedFrom.runName}`,
        ...(map === undefined ? [] : [`mAP@100 ${formatPercent(map)}`]),
        ...(step.gpuSeconds > 0 ? [`${formatNumber(step.gpuSeconds / 3600)} GPU-hours`] : []),
      ].join(', ');
    }),
  ]);
  const total = ['all', ...runs.map(({ gpuSeconds }) => `${formatNumber(gpuSeconds / 3600)} GPU-hours`)];
  return [
    ...(settings.length === 0
      ? ['The recipes, datasets and settings are the same.']
      : tableLines([{ title: 'setting' }, ...columns], settings, { heading: style.dim })),
    ...(more > 0 ? [style.dim(`and ${more} more`)] : []),
    '',
    ...tableLines([{ title: 'step' }, ...columns], [...outcomes, total], { heading: style.dim }),
  ];
}

const valueText = (one: SettingDifference['of'][number]): string =>
  one === null ? '' : typeof one.value === 'string' ? one.value : JSON.stringify(one.value);
