import {
  actionsIn,
  artifactKind,
  attemptStatesIn,
  type FailureView,
  isDoneStep,
  isEndedStep,
  type ProgressView,
  type RunListItem,
  type RunState,
  type StepState,
  type StepView,
  stepKind,
  stepPool,
  stepState,
} from '@cairn/contract';
import { describeFailure } from '@cairn/domain';
import { z } from 'zod';
import { listOfStates, type Transaction } from '../client.ts';
import {
  failureColumn,
  failuresColumn,
  findingColumn,
  givenColumn,
  isoTime,
  isoTimeOrNull,
  needsColumn,
  progressColumn,
  readColumn,
  readNullable,
  readRows,
  recordColumn,
  removedColumn,
  scoresColumn,
} from './columns.ts';
import { scoresOf } from './evaluations.ts';
import type { HoldReason } from './holds.ts';
import { type AdmissionView, blockersOf, loadAdmission, needsAdmission, type StepSituation, waitingReasonOf } from './waiting.ts';

/** Provides the reasons of waiting steps; the api passes one that shares an evaluation between its requests. */
export type AdmissionSource = () => Promise<AdmissionView>;

/** The views of all steps of a run, in topological order. At most six queries, regardless of the number of steps. */
export async function loadStepViews(
  db: Transaction,
  run: { id: string; name: string; state: RunState; held: HoldReason | null },
  admissionSource: AdmissionSource = () => loadAdmission(db),
): Promise<StepView[]> {
  const steps = await db.step.findMany({
    where: { runId: run.id },
    orderBy: { position: 'asc' },
    include: {
      artifact: { select: { id: true, kind: true, state: true, digest: true, prefix: true, runId: true, stepName: true, details: true } },
    },
  });
  // A run leaves this state with its first attempt.
  const attempts = run.state === 'queued' ? new Map<string, AttemptCountsRow>() : await countAttempts(db, run.id);
  const leased = await countLeasedShards(db, steps);
  const runNames = await loadRunNames(
    db,
    steps.flatMap((step) => [step.reusedFromRunId, step.artifact?.runId ?? null]).filter((id) => id !== run.id),
  );
  const states = new Map(steps.map((step) => [step.name, readColumn(stepState, step.state, `step ${step.id} state`)]));

  const briefs = steps.map((step) => {
    const state = readColumn(stepState, step.state, `step ${step.id} state`);
    const roles = readColumn(needsColumn, step.needs, `step ${step.id} needs`);
    const needs = [...new Set(roles.map((need) => need.step))];
    const reads = [
      ...roles.map(({ role, step: name }) => ({ role, step: name, weights: null })),
      ...readColumn(givenColumn, step.given, `step ${step.id} given`).map(({ role, name }) => ({ role, step: null, weights: name })),
    ];
    const counts = attempts.get(step.id) ?? noAttempts;
    const { artifact } = step;
    const isElsewhere = artifact?.state === 'building' && (artifact.runId !== run.id || artifact.stepName !== step.name);
    const situation: StepSituation = {
      stepId: step.id,
      state,
      runState: run.state,
      held: run.held,
      createdAt: step.createdAt,
      readyAt: step.readyAt,
      needs: needs.map((name) => ({ name, state: states.get(name) ?? 'blocked' })),
      builder:
        artifact && isElsewhere
          ? { runId: artifact.runId ?? 'unknown', runName: runNames.get(artifact.runId ?? '') ?? 'unknown', stepName: artifact.stepName }
          : null,
      attempts: counts,
      isComplete: state === 'active' && (step.shardsTotal === null ? counts.succeeded > 0 : step.shardsCommitted >= step.shardsTotal),
    };
    const isReporting = counts.working === 0 || counts.silent < counts.working;
    return { step, state, needs, reads, situation, isReporting, counts };
  });
  const admission = briefs.some(({ situation }) => needsAdmission(situation)) ? await admissionSource() : null;

  return briefs.map(({ step, state, needs, reads, situation, isReporting, counts }): StepView => {
    const kind = readNullable(artifactKind, step.artifact?.kind, `artifact ${step.artifactId} kind`);
    const details = readColumn(recordColumn, step.artifact?.details ?? {}, `artifact ${step.artifactId} details`);
    const isReady = step.artifact?.state === 'ready';
    const reusedFrom = step.reusedFromRunId;
    const progress = readNullable(progressColumn, step.progress, `step ${step.id} progress`);
    const failure = readNullable(failureColumn, step.failure, `step ${step.id} failure`);
    const waiting = waitingReasonOf(situation, admission);
    return {
      id: step.id,
      name: step.name,
      kind: readColumn(stepKind, step.kind, `step ${step.id} kind`),
      state,
      needs,
      reads,
      settings: readColumn(recordColumn, step.settings, `step ${step.id} settings`),
      pool: readColumn(stepPool, step.pool, `step ${step.id} pool`),
      slots: step.slots,
      gpuSeconds: counts.gpuSeconds,
      actions: actionsIn(run.state, { actions: ['retry'] }),
      waiting,
      waitingFor: blockersOf(situation, { id: run.id, name: run.name }, waiting, admission),
      // When all attempts are silent, their rate is unknown.
      progress: isReporting ? progress : progress && { ...progress, rate: null, etaSeconds: null, message: '' },
      shards:
        step.shardsTotal === null
          ? null
          : {
              total: step.shardsTotal,
              committed: step.shardsCommitted,
              leased: leased.get(step.id) ?? 0,
              rows: step.rows,
              rejected: step.rejected,
            },
      failure,
      failureCard:
        failure === null
          ? null
          : describeFailure({
              failure,
              failures: readColumn(failuresColumn, step.failures, `step ${step.id} failures`),
              attempt: counts.lastFailed,
            }),
      // A result that is still being built does not count as the step's yet.
      removed: readNullable(removedColumn, step.removed, `step ${step.id} removed`),
      artifact:
        step.artifact && kind && isReady
          ? { id: step.artifact.id, kind, digest: step.artifact.digest, prefix: step.artifact.prefix }
          : null,
      reusedFrom: reusedFrom === null ? null : { runId: reusedFrom, runName: runNames.get(reusedFrom) ?? 'unknown' },
      scores: scoresOf(readColumn(scoresColumn, step.scores, `step ${step.id} scores`), kind && isReady ? { kind, details } : null),
      attempts: counts.total,
      createdAt: isoTime(step.createdAt),
      startedAt: isoTimeOrNull(step.startedAt),
      finishedAt: isoTimeOrNull(step.finishedAt),
    };
  });
}

const noAttempts: Omit<AttemptCountsRow, 'stepId'> = {
  total: 0,
  gpuSeconds: 0,
  lastFailed: null,
  silent: 0,
  starting: 0,
  startingSince: null,
  startingPool: null,
  finding: null,
  working: 0,
  succeeded: 0,
  lastEndedAt: null,
};

const attemptCountsRow = z.object({
  stepId: z.string(),
  total: z.number().int(),
  gpuSeconds: z.number(),
  lastFailed: z
    .object({
      id: z.string(),
      ordinal: z.number().int(),
      place: z.string().nullable(),
      endedAt: z.iso
        .datetime({ offset: true })
        .transform((text) => new Date(text).toISOString())
        .nullable(),
      avoidNode: z.string().nullable(),
    })
    .nullable(),
  starting: z.number().int(),
  startingSince: z.date().nullable(),
  startingPool: z.string().nullable(),
  finding: findingColumn.nullable(),
  working: z.number().int(),
  silent: z.number().int(),
  succeeded: z.number().int(),
  lastEndedAt: z.date().nullable(),
});

type AttemptCountsRow = z.infer<typeof attemptCountsRow>;

/** Attempt counts by step; all but `total`, `gpuSeconds` and `lastFailed` count the step's current generation. */
async function countAttempts(db: Transaction, runId: string): Promise<Map<string, AttemptCountsRow>> {
  const [starting, working] = [listOfStates(attemptStatesIn('starting')), listOfStates(attemptStatesIn('working'))];
  const rows = await db.$queryRaw`
    select a.step_id as "stepId", count(*)::int as total,
           coalesce(sum(a.slots * extract(epoch from coalesce(a.ended_at, now()) - a.started_at)) filter (where a.pool <> 'tasks'), 0)::float8 as "gpuSeconds",
           (array_agg(jsonb_build_object('id', a.id, 'ordinal', a.ordinal, 'place', a.place, 'endedAt', a.ended_at, 'avoidNode', a.avoid_node)
              order by (a.failure ->> 'cause') is distinct from 'preemption' and a.failure is not null desc, a.started_at is not null desc, a.ordinal desc)
              filter (where a.failure is not null or a.started_at is not null))[1] as "lastFailed",
           count(*) filter (where current and a.state in ${starting})::int as starting,
           min(a.created_at) filter (where current and a.state in ${starting}) as "startingSince",
           min(a.pool) filter (where current and a.state in ${starting}) as "startingPool",
           (array_agg(a.finding order by a.ordinal) filter (where current and a.finding is not null and a.state in ${starting}))[1] as finding,
           count(*) filter (where current and a.state in ${working})::int as working,
           count(*) filter (where current and a.state in ${working} and a.contact = 'silent')::int as silent,
           count(*) filter (where current and a.state = 'succeeded')::int as succeeded,
           max(a.ended_at) filter (where current) as "lastEndedAt"
      from (select attempt.*, attempt.step_generation = step.generation as current
              from attempt join step on step.id = attempt.step_id where attempt.run_id = ${runId}) a
     group by a.step_id`;
  return new Map(readRows(attemptCountsRow, rows).map((row) => [row.stepId, row]));
}

async function countLeasedShards(
  db: Transaction,
  steps: readonly { id: string; shardsTotal: number | null; state: string }[],
): Promise<Map<string, number>> {
  const open = steps.filter(
    (step) => step.shardsTotal !== null && !isEndedStep(readColumn(stepState, step.state, `step ${step.id} state`)),
  );
  if (open.length === 0) return new Map();
  const groups = await db.shard.groupBy({
    by: ['stepId'],
    where: { stepId: { in: open.map((step) => step.id) }, state: 'leased' },
    _count: true,
  });
  return new Map(groups.map((group) => [group.stepId, group._count]));
}

async function loadRunNames(db: Transaction, ids: readonly (string | null)[]): Promise<Map<string, string>> {
  const wanted = [...new Set(ids.filter((id): id is string => id !== null))];
  if (wanted.length === 0) return new Map();
  const runs = await db.run.findMany({ where: { id: { in: wanted } }, select: { id: true, name: true } });
  return new Map(runs.map((run) => [run.id, run.name]));
}

/** A step as far as its run's progress needs it. */
export type ProgressStep = {
  name: string;
  state: StepState;
  progress: ProgressView | null;
  shards: { total: number; committed: number } | null;
  failure: FailureView | null;
  /** Why it waits; null when it does not. */
  waiting: { sentence: string } | null;
};

/** How far a run is, and what it does now in one sentence. Pure. */
export function progressOf(
  run: { state: RunState; cause: string | null; held: { sentence: string } | null },
  steps: readonly ProgressStep[],
): Pick<RunListItem, 'share' | 'now'> {
  const done = steps.reduce((sum, step) => sum + shareOf(step), 0);
  return { share: steps.length === 0 ? 0 : done / steps.length, now: nowOf(run, steps) };
}

function shareOf({ state, shards, progress }: ProgressStep): number {
  if (isDoneStep(state)) return 1;
  if (state !== 'active') return 0;
  if (shards !== null) return shards.total === 0 ? 0 : shards.committed / shards.total;
  return progress === null || progress.total <= 0 ? 0 : Math.min(1, Math.max(0, progress.done / progress.total));
}

const count = (value: number): string => Math.floor(value).toLocaleString('en-US');

/** For each state of a run: what it does now, from its steps. */
const sentences = {
  held: (_, __, held) => held?.sentence ?? 'is held',
  queued: sentenceOfLive,
  running: sentenceOfLive,
  cancelling: () => 'stops its attempts',
  succeeded: () => null,
  failed: (steps, cause) => {
    const failed = steps.find((step) => step.state === 'failed');
    const why = failed?.failure?.message.split('\n')[0] ?? cause;
    return failed === undefined ? cause : `${failed.name} failed${why === null || why === undefined ? '' : `: ${why}`}`;
  },
  cancelled: () => null,
} as const satisfies Record<
  RunState,
  (steps: readonly ProgressStep[], cause: string | null, held: { sentence: string } | null) => string | null
>;

function nowOf({ state, cause, held }: Parameters<typeof progressOf>[0], steps: readonly ProgressStep[]): string | null {
  return sentences[state](steps, cause, held);
}

function sentenceOfLive(steps: readonly ProgressStep[]): string | null {
  const working = steps.filter((step) => step.state === 'active' && step.waiting === null);
  const waiting = steps.filter((step) => step.state === 'ready' || (step.state === 'active' && step.waiting !== null));
  const [first, ...others] = [...working, ...waiting];
  if (first === undefined) return null;
  const more = others.length === 0 ? '' : `; and ${others.length} more ${others.length === 1 ? 'step' : 'steps'}`;
  return `${sentenceOf(first)}${more}`;
}

function sentenceOf({ name, state, shards, progress, waiting }: ProgressStep): string {
  if (waiting !== null) return `${name}: ${waiting.sentence}`;
  if (state === 'ready') return `${name} waits to be started`;
  if (shards !== null) return `${name}: ${count(shards.committed)} of ${count(shards.total)} shards`;
  if (progress === null || progress.total <= 0) return `${name} runs`;
  const message = progress.message === '' ? '' : `, ${progress.message}`;
  return `${name}: ${count(progress.done)} of ${count(progress.total)} ${progress.unit}${message}`;
}
