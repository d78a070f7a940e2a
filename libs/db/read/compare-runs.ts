import {
  maxDifferences,
  type RunComparison,
  type RunView,
  runListItem,
  type SettingDifference,
  type StepView,
  settingPathText,
} from '@cairn/contract';
import type { Transaction } from '../client.ts';
import { getRun, type RunArgs } from './get-run.ts';

export type RunComparisonArgs = Omit<RunArgs, 'runId'> & { runIds: readonly string[] };

/**
 * Runs side by side, in the given order.
 *
 * @throws CairnError `not_found` with the run
 */
export async function compareRuns(db: Transaction, { runIds, ...args }: RunComparisonArgs): Promise<RunComparison> {
  const runs: RunView[] = [];
  // In sequence: each takes a few statements.
  for (const runId of runIds) runs.push(await getRun(db, { ...args, runId }));
  const differences = differencesOf(runs);
  return {
    // Without what only the page of one run shows.
    runs: runs.map((run) => runListItem.parse(run)),
    differences: differences.slice(0, maxDifferences),
    differencesTotal: differences.length,
    steps: stepNames(runs).map((name) => {
      const of = runs.map((run) => run.stepViews.find((step) => step.name === name));
      return {
        name,
        kind: (of.find((step) => step !== undefined) as StepView).kind,
        of: of.map((step) => (step ? comparedStepOf(step) : null)),
      };
    }),
  };
}

const comparedStepOf = ({ state, scores, gpuSeconds, reusedFrom, artifact, startedAt, finishedAt }: StepView) => ({
  ...{ state, scores, gpuSeconds, reusedFrom, startedAt, finishedAt },
  artifactId: artifact?.id ?? null,
});

/** The steps of all runs: those of the first in their order, each of the others after the one that it follows there. */
function stepNames(runs: readonly RunView[]): string[] {
  const names: string[] = [];
  for (const { stepViews } of runs) {
    let at = 0;
    for (const { name } of stepViews) {
      const known = names.indexOf(name);
      if (known < 0) names.splice(at, 0, name);
      at = (known < 0 ? at : known) + 1;
    }
  }
  return names;
}

/** What is not the same in all runs: recipe, dataset, and the settings of steps that at least two of them have. Pure. */
export function differencesOf(runs: readonly Pick<RunView, 'recipe' | 'dataset' | 'stepViews'>[]): SettingDifference[] {
  const whole = (['recipe', 'dataset'] as const).map((path) => ({ step: null, path, of: runs.map((run) => ({ value: run[path] })) }));
  const names = [...new Set(runs.flatMap(({ stepViews }) => stepViews.map((step) => step.name)))];
  const ofSteps = names.flatMap((name) => {
    const settings = runs.map(({ stepViews }) => {
      const step = stepViews.find((one) => one.name === name);
      return step === undefined ? null : new Map(leaves(step.settings, []));
    });
    if (settings.filter((one) => one !== null).length < 2) return [];
    const paths = [...new Set(settings.flatMap((one) => [...(one?.keys() ?? [])]))];
    return paths.map((path) => ({ step: name, path, of: settings.map((one) => (one?.has(path) ? { value: one.get(path) } : null)) }));
  });
  return [...whole, ...ofSteps].filter(({ of }) => new Set(of.map((one) => JSON.stringify(one))).size > 1);
}

/** The single values of settings by their paths; a list is one value. */
function leaves(value: unknown, path: readonly string[]): [string, unknown][] {
  const isPart =
    typeof value === 'object' && value !== null && !Array.isArray(value) && (path.length === 0 || Object.keys(value).length > 0);
  if (!isPart) return [[settingPathText(path), value]];
  return Object.entries(value).flatMap(([key, part]) => leaves(part, [...path, key]));
}
