import {
  actionsIn,
  attemptPurpose,
  attemptState,
  CairnError,
  cancelCause,
  firstOf,
  holdCause,
  isDoneStep,
  maxDifferences,
  maxTimelineAttempts,
  type RunComparison,
  type RunGateView,
  type RunTimeline,
  type RunView,
  runGate,
  runGateState,
  runListItem,
  runState,
  runVerdict,
  type SettingDifference,
  type StepView,
  settingPathText,
  stepKind,
  stepState,
} from '@cairn/contract';
import { stringify } from 'yaml';
import { z } from 'zod';
import type { Transaction } from '../client.ts';
import {
  contextOf,
  failureColumn,
  isoTime,
  isoTimeOrNull,
  noReuseColumn,
  readColumn,
  readNullable,
  requestColumn,
  resumedFromColumn,
} from './columns.ts';
import { findJudgement } from './evaluations.ts';
import { loadHoldReason } from './holds.ts';
import { type AdmissionSource, loadStepViews, progressOf } from './step-views.ts';

type RunArgs = { projectId: string; runId: string; admission?: AdmissionSource | undefined };

/**
 * A run with all its steps, each with the reason it waits.
 *
 * @throws CairnError `not_found`
 */
export async function getRun(db: Transaction, { projectId, runId, admission }: RunArgs): Promise<RunView> {
  const run = await db.run.findFirst({ where: { id: runId, projectId }, include: { dataset: { select: { name: true, version: true } } } });
  if (run === null) throw runNotFound(runId);
  const state = readColumn(runState, run.state, `run ${run.id} state`);
  const held = await loadHoldReason(db, run);
  const stepViews = await loadStepViews(db, { id: run.id, name: run.name, state, held }, admission);
  const steps = {
    total: stepViews.length,
    done: stepViews.filter((step) => isDoneStep(step.state)).length,
    reused: stepViews.filter((step) => step.state === 'reused').length,
  };
  const hold = readNullable(holdCause, run.hold, `run ${run.id} hold`);
  return {
    ...{ id: run.id, name: run.name, recipe: run.recipeName, dataset: `${run.dataset.name}@${run.dataset.version}`, owner: run.owner },
    ...{ state, cause: run.cause, priority: run.priority, seq: run.seq, steps },
    ...{ pinnedBy: run.pinnedBy, retiredAt: isoTimeOrNull(run.retiredAt) },
    ...{ tags: run.tags, ...noteOf(run) },
    ...contextOf(run),
    cancelCause: readNullable(cancelCause, run.cancelCause, `run ${run.id} cancel_cause`),
    hold,
    verdict: readColumn(runVerdict, run.verdict, `run ${run.id} verdict`),
    createdAt: isoTime(run.createdAt),
    startedAt: isoTimeOrNull(run.startedAt),
    finishedAt: isoTimeOrNull(run.finishedAt),
    ...progressOf({ state, cause: run.cause, held }, stepViews),
    updatedAt: isoTime(run.updatedAt),
    mapAt100: { best: run.mapBest, last: run.mapLast },
    gpuSeconds: stepViews.reduce((sum, step) => sum + step.gpuSeconds, 0),
    actions: actionsIn(state, { hold }),
    stepViews,
    noReuse: readColumn(noReuseColumn, run.noReuse, `run ${run.id} no_reuse`),
    recipeYaml: stringify(run.recipe),
    given: readNullable(requestColumn, run.request, `run ${run.id} request`),
    gate: await gateOf(db, run),
  };
}

type NoteRow = { note: string | null; noteBy: string | null; noteAt: Date | null };

/** The note, and its first line as lists have it. */
function noteOf({ note, noteBy, noteAt }: NoteRow): Pick<RunView, 'note' | 'noteLine'> {
  if (note === null || noteBy === null || noteAt === null) return { note: null, noteLine: null };
  return { note: { text: note, by: noteBy, at: isoTime(noteAt) }, noteLine: firstOf(note.split('\n')[0] ?? '', 200) };
}

type GateRow = { id: string; gate: unknown; gateState: string | null; gateGeneration: number; gateProblem: string | null };

async function gateOf(db: Transaction, { id, gate, gateState, gateGeneration, gateProblem }: GateRow): Promise<RunGateView | null> {
  if (gate === null) return null;
  const state = readColumn(runGateState, gateState, `run ${id} gate_state`);
  return {
    // The column also has the token of the user who submitted it.
    ...readColumn(z.object(runGate.shape), gate, `run ${id} gate`),
    state,
    problem: gateProblem,
    judgement: state === 'judged' ? await findJudgement(db, { runId: id, gateGeneration }) : null,
  };
}

export const runNotFound = (runId: string): CairnError =>
  new CairnError('not_found', `Run ${runId} not found; list the runs with GET /v1/runs`);

/**
 * When the steps of a run and their attempts waited and ran.
 *
 * @throws CairnError `not_found`
 */
export async function readTimeline(
  db: Transaction,
  { projectId, runId }: { projectId: string; runId: string },
  now = new Date(),
): Promise<RunTimeline> {
  const run = await db.run.findFirst({
    where: { id: runId, projectId },
    select: {
      startedAt: true,
      finishedAt: true,
      steps: {
        orderBy: { position: 'asc' },
        select: { id: true, name: true, kind: true, state: true, createdAt: true, readyAt: true, startedAt: true, finishedAt: true },
      },
    },
  });
  if (run === null) throw runNotFound(runId);
  const attemptsTotal = await db.attempt.count({ where: { runId } });
  const attempts = await db.attempt.findMany({
    where: { runId },
    orderBy: [{ createdAt: 'desc' }, { id: 'desc' }],
    take: maxTimelineAttempts,
    select: {
      ...{ id: true, stepId: true, ordinal: true, purpose: true, state: true, pool: true, slots: true, place: true },
      ...{ createdAt: true, startedAt: true, endedAt: true, failure: true, stopReason: true, resumedFrom: true },
    },
  });
  const names = new Map(run.steps.map((step) => [step.id, step.name]));
  return {
    asOf: isoTime(now),
    startedAt: isoTimeOrNull(run.startedAt),
    finishedAt: isoTimeOrNull(run.finishedAt),
    steps: run.steps.map((step) => ({
      id: step.id,
      name: step.name,
      kind: readColumn(stepKind, step.kind, `step ${step.id} kind`),
      state: readColumn(stepState, step.state, `step ${step.id} state`),
      createdAt: isoTime(step.createdAt),
      readyAt: isoTimeOrNull(step.readyAt),
      startedAt: isoTimeOrNull(step.startedAt),
      finishedAt: isoTimeOrNull(step.finishedAt),
    })),
    attempts: attempts.toReversed().map(({ stepId, ...row }) => {
      const failure = readNullable(failureColumn, row.failure, `attempt ${row.id} failure`);
      return {
        ...row,
        step: names.get(stepId) ?? 'unknown',
        purpose: readColumn(attemptPurpose, row.purpose, `attempt ${row.id} purpose`),
        state: readColumn(attemptState, row.state, `attempt ${row.id} state`),
        createdAt: isoTime(row.createdAt),
        startedAt: isoTimeOrNull(row.startedAt),
        endedAt: isoTimeOrNull(row.endedAt),
        failure: failure && { ...failure, message: failure.message.split('\n')[0]?.slice(0, 300) ?? '' },
        resumedFrom: readNullable(resumedFromColumn, row.resumedFrom, `attempt ${row.id} resumed_from`),
      };
    }),
    attemptsTotal,
  };
}

type RunComparisonArgs = Omit<RunArgs, 'runId'> & { runIds: readonly string[] };

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
