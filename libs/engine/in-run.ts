import {
  artifactState,
  attemptPurpose,
  attemptState,
  CairnError,
  kindAndSettings,
  runGateState,
  runOrigin,
  runSource,
} from '@cairn/contract';
import type { Transaction } from '@cairn/db';
import { z } from 'zod';
import { failuresColumn, givenColumn, needsColumn, noReuseColumn, states } from './columns.ts';
import type { EngineContext } from './engine.ts';
import { writePending } from './pending-writes.ts';
import { type RunWork, runWork } from './run-work.ts';
import { settle } from './settle.ts';

/**
 * Locks a run, lets `work` change it, settles it (`advance` until nothing is left to do) and writes the changes, in the caller's
 * transaction. The caller settles `alsoSettle` after its commit.
 */
export async function inRun<T>(
  ctx: EngineContext,
  tx: Transaction,
  { runId, alsoSettle }: { runId: string; alsoSettle: Set<string> },
  work: (run: RunWork) => Promise<T>,
): Promise<{ value: T; run: RunWork }> {
  const run = await loadRun(ctx, tx, runId, alsoSettle);
  const value = await work(run);
  await settleAndWrite(run);
  return { value, run };
}

/** Settles a run and writes its pending changes. The caller settles `alsoSettle` after its commit. */
export async function settleAndWrite(run: RunWork): Promise<void> {
  await settle(run);
  await writePending(run.tx, run, run.pending);
}

const runRow = z.object({
  id: z.string(),
  name: z.string(),
  projectId: z.string(),
  owner: z.string(),
  labels: z.record(z.string(), z.string()),
  state: states.run,
  cause: z.string().nullable(),
  seq: z.number().int(),
  noReuse: noReuseColumn,
  recipeName: z.string(),
  origin: runOrigin,
  source: z.object(runSource.shape).nullable(),
  dataset: z.object({ name: z.string(), version: z.number().int(), digest: z.string() }),
  group: z.string().nullable(),
  gate: z.object({ state: runGateState, generation: z.number().int() }).nullable(),
  hasStarted: z.boolean(),
});

const stepRow = kindAndSettings.and(
  z.object({
    id: z.string(),
    name: z.string(),
    needs: needsColumn,
    given: givenColumn,
    slots: z.number().int(),
    maxAttempts: z.number().int(),
    state: states.step,
    generation: z.number().int(),
    failures: failuresColumn,
    finalizing: z.boolean(),
    shardsTotal: z.number().int().nullable(),
    shardsCommitted: z.number().int(),
    readyAt: z.date().nullable(),
    startedAt: z.date().nullable(),
    artifact: z
      .object({
        id: z.string(),
        state: artifactState,
        runId: z.string().nullable(),
        stepName: z.string(),
        digest: z.string().nullable(),
        memoKey: z.string().nullable(),
      })
      .nullable(),
    lastOrdinal: z.number().int(),
    attempts: z.array(
      z.object({ id: z.string(), state: attemptState, ordinal: z.number().int(), pool: z.string(), purpose: attemptPurpose }),
    ),
  }),
);

/** Two statements: the second must see what was committed while the first waited for the lock. */
async function loadRun(ctx: EngineContext, tx: Transaction, runId: string, alsoSettle: Set<string>): Promise<RunWork> {
  const runs = await tx.$queryRaw<unknown[]>`
    select r.id, r.name, r.project_id as "projectId", r.owner, r.labels, r.state, r.cause, r.seq, r.no_reuse as "noReuse",
           r.concurrency_group as "group", r.started_at is not null as "hasStarted",
           r.recipe_name as "recipeName", r.origin, r.source,
           case when r.gate_state is not null then jsonb_build_object('state', r.gate_state, 'generation', r.gate_generation) end as gate,
           jsonb_build_object('name', d.name, 'version', d.version, 'digest', d.digest) as dataset
      from run r join dataset d on d.id = r.dataset_id where r.id = ${runId} for update of r`;
  if (runs.length === 0) throw new CairnError('not_found', `run ${runId} not found`);
  const steps = await tx.$queryRaw<unknown[]>`
    select s.id, s.name, s.kind, s.settings, s.needs, s.given, s.slots, s.max_attempts as "maxAttempts", s.state, s.generation, s.failures, s.finalizing,
           s.shards_total as "shardsTotal", s.shards_committed as "shardsCommitted", s.ready_at as "readyAt",
           s.started_at as "startedAt",
           case when f.id is not null then jsonb_build_object('id', f.id, 'state', f.state, 'runId', f.run_id, 'stepName', f.step_name,
             'digest', f.digest, 'memoKey', f.memo_key) end as artifact,
           coalesce(t.last, 0) as "lastOrdinal", coalesce(t.attempts, '[]') as attempts
      from step s
      left join artifact f on f.id = s.artifact_id
      left join lateral (
        select max(a.ordinal) as last, jsonb_agg(jsonb_build_object('id', a.id, 'state', a.state, 'ordinal', a.ordinal, 'pool', a.pool,
                 'purpose', a.purpose)
                 order by a.ordinal) filter (where a.step_generation = s.generation) as attempts
          from attempt a where a.step_id = s.id) t on true
     where s.run_id = ${runId} order by s.position`;
  return runWork(ctx, tx, runRow.parse(runs[0]), z.array(stepRow).parse(steps), alsoSettle);
}
