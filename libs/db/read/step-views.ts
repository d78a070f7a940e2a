import {
  type ArtifactKind,
  artifactKind,
  attemptStatesIn,
  checkpointDetails,
  evaluationDetails,
  isEndedStep,
  type RunState,
  type StepView,
  stepKind,
  stepState,
} from '@cairn/contract';
import { z } from 'zod';
import { listOfStates, type Transaction } from '../client.ts';
import {
  failureColumn,
  findingColumn,
  isoTime,
  isoTimeOrNull,
  needsColumn,
  progressColumn,
  readColumn,
  readNullable,
  readRows,
  recordColumn,
  scoresColumn,
} from './columns.ts';
import { type AdmissionView, type AttemptCounts, loadAdmission, needsAdmission, type StepSituation, waitingReasonOf } from './waiting.ts';

/** Provides the reasons of waiting steps; the api passes one that shares an evaluation between its requests. */
export type AdmissionSource = () => Promise<AdmissionView>;

/** The views of all steps of a run, in topological order. At most six queries, regardless of the number of steps. */
export async function loadStepViews(
  db: Transaction,
  run: { id: string; state: RunState },
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
    const needs = [...new Set(readColumn(needsColumn, step.needs, `step ${step.id} needs`).map((need) => need.step))];
    const counts = attempts.get(step.id) ?? noAttempts;
    const { artifact } = step;
    const isElsewhere = artifact?.state === 'building' && (artifact.runId !== run.id || artifact.stepName !== step.name);
    const situation: StepSituation = {
      stepId: step.id,
      state,
      runState: run.state,
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
    return { step, state, needs, situation, isReporting, attempts: counts.total };
  });
  const admission = briefs.some(({ situation }) => needsAdmission(situation)) ? await admissionSource() : null;

  return briefs.map(({ step, state, needs, situation, isReporting, attempts: count }): StepView => {
    const kind = readNullable(artifactKind, step.artifact?.kind, `artifact ${step.artifactId} kind`);
    const details = readColumn(recordColumn, step.artifact?.details ?? {}, `artifact ${step.artifactId} details`);
    const isReady = step.artifact?.state === 'ready';
    const reusedFrom = step.reusedFromRunId;
    const progress = readNullable(progressColumn, step.progress, `step ${step.id} progress`);
    return {
      id: step.id,
      name: step.name,
      kind: readColumn(stepKind, step.kind, `step ${step.id} kind`),
      state,
      needs,
      settings: readColumn(recordColumn, step.settings, `step ${step.id} settings`),
      waiting: waitingReasonOf(situation, admission),
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
      failure: readNullable(failureColumn, step.failure, `step ${step.id} failure`),
      // A result that is still being built does not count as the step's yet.
      artifact:
        step.artifact && kind && isReady
          ? { id: step.artifact.id, kind, digest: step.artifact.digest, prefix: step.artifact.prefix }
          : null,
      reusedFrom: reusedFrom === null ? null : { runId: reusedFrom, runName: runNames.get(reusedFrom) ?? 'unknown' },
      scores: scoresOf(readColumn(scoresColumn, step.scores, `step ${step.id} scores`), kind && isReady ? { kind, details } : null),
      attempts: count,
      createdAt: isoTime(step.createdAt),
      startedAt: isoTimeOrNull(step.startedAt),
      finishedAt: isoTimeOrNull(step.finishedAt),
    };
  });
}

const noAttempts: AttemptCounts & { total: number; silent: number } = {
  total: 0,
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

/** Attempt counts by step; all but `total` count the step's current generation. */
async function countAttempts(db: Transaction, runId: string): Promise<Map<string, AttemptCountsRow>> {
  const [starting, working] = [listOfStates(attemptStatesIn('starting')), listOfStates(attemptStatesIn('working'))];
  const rows = await db.$queryRaw`
    select a.step_id as "stepId", count(*)::int as total,
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

/**
 * The scores of a step, 0 to 1: those reported while it ran, and those in the details of its artifact, so that a reused step shows the
 * scores of the reused result.
 */
export function scoresOf(
  reported: Record<string, number>,
  artifact: { kind: ArtifactKind; details: Record<string, unknown> } | null,
): Record<string, number> {
  return { ...reported, ...(artifact === null ? {} : present(scoresInDetails(artifact.kind, artifact.details))) };
}

function scoresInDetails(kind: ArtifactKind, details: Record<string, unknown>): Record<string, number | null | undefined> {
  if (kind === 'checkpoint') {
    const parsed = checkpointDetails.safeParse(details);
    return parsed.success ? { 'mapAt100.start': parsed.data.mapAt100Start, 'mapAt100.end': parsed.data.mapAt100End } : {};
  }
  if (kind !== 'evaluation') return {};
  const parsed = evaluationDetails.safeParse(details);
  if (!parsed.success) return {};
  const { kaggle, reference, intervals } = parsed.data.mapAt100;
  return {
    mapAt100: kaggle?.all,
    'mapAt100.low': intervals?.kaggle.all?.low,
    'mapAt100.high': intervals?.kaggle.all?.high,
    'mapAt100.public': kaggle?.public,
    'mapAt100.private': kaggle?.private,
    'mapAt100.reference': reference,
  };
}

function present(scores: Record<string, number | null | undefined>): Record<string, number> {
  return Object.fromEntries(Object.entries(scores).filter((entry): entry is [string, number] => typeof entry[1] === 'number'));
}
