import { byPerson, CairnError, liveRunStates, originText, type RunOrigin, type SubmitRequest } from '@cairn/contract';
import { inTransaction, isUniqueViolation, type PrismaClient, type Transaction } from '@cairn/db';
import { loaderBytes, rulesOf, type StepPlan } from '@cairn/domain';
import { canonicalJson, newId, sha256 } from '@cairn/runtime';
import { audit } from './audit.ts';
import { expectedTime, whyHeld } from './budgets.ts';
import { checkSubmission } from './check-submission.ts';
import type { Given } from './columns.ts';
import type { Actor, EngineContext } from './engine.ts';
import { givenTo, lockGiven, refuseAbsentWeights } from './external-inputs.ts';
import { settleAndWrite } from './in-run.ts';
import type { NewStep } from './pending-writes.ts';
import { gateColumnOf } from './run-gate.ts';
import { changeRun, emit, runWork, type WorkStep } from './run-work.ts';
import { type GroupKey, lockGroup, placeInGroup, settleGroup } from './with-run.ts';

/**
 * Creates a run with its steps. With an idempotency key, repeating the request returns the run that it created.
 *
 * @param origin what started the run; a key that such code derives begins with its kind, which the api refuses in keys of callers
 * @param check runs in the transaction, under the lock of the group; what it throws is thrown, and there is no run
 */
export async function submitRun(
  ctx: EngineContext,
  request: SubmitRequest,
  actor: Actor,
  idempotencyKey: string | null,
  origin: RunOrigin = byPerson,
  check: (tx: Transaction) => Promise<void> = async () => undefined,
): Promise<{ runId: string; created: boolean }> {
  const requestDigest = digestOf(request);
  const earlier = idempotencyKey === null ? null : await findByKey(ctx, actor, idempotencyKey, requestDigest);
  if (earlier) return { runId: earlier, created: false };
  const submission = await checkSubmission(ctx, request, { projectId: actor.projectId, mayStartLater: origin.kind !== 'person' });
  const { recipe, plan, inputs, dataset, noReuse } = submission;
  refuseAbsentWeights(plan, inputs);
  const runId = newId('run');
  const name = request.name ?? `${recipe.name}-${runId.slice(-6)}`;
  const owner = { projectId: actor.projectId, owner: actor.name };
  await checkRunQuotas(ctx, ctx.prisma, owner);
  const group = request.group ?? null;
  const key = group === null ? null : { projectId: actor.projectId, group };
  const expectedGpuMs = await expectedTime(ctx, submission, { ...owner, labels: request.labels });
  try {
    const isHeld = await inTransaction(ctx.prisma, async (tx) => {
      // New ones for each try after a deadlock, because settling changes them.
      const steps = plan.map((step) => newStep(step, givenTo(step, inputs)));
      const entry = await enterGroup(tx, key);
      await check(tx);
      const held = await whyHeld(tx, { ...owner, labels: request.labels });
      const hold = held !== null ? 'budget' : entry?.isFree === false ? 'group' : null;
      const state = hold === null ? 'queued' : 'held';
      // Nothing else sees the run before the commit, so the inserted rows need not be locked and read.
      const { source } = request;
      const facts = { id: runId, ...owner, name, noReuse, labels: request.labels, recipeName: recipe.name, origin, source, dataset, group };
      const gate = request.gate === undefined ? null : gateColumnOf(request.gate, actor);
      const waiting = gate === null ? null : ({ state: 'waiting', generation: 0 } as const);
      await lockGiven(tx, steps);
      const run = runWork(ctx, tx, { ...facts, state, cause: held, seq: 0, hasStarted: false, gate: waiting }, steps, new Set());
      run.pending.made = {
        run: {
          id: runId,
          ...owner,
          name,
          recipeName: recipe.name,
          recipe,
          datasetId: dataset.id,
          state,
          hold,
          groupPlace: entry?.place ?? null,
          priority: request.priority,
          noReuse,
          idempotencyKey,
          requestDigest,
          request: {
            recipe: typeof request.recipe === 'string' ? request.recipe : null,
            set: request.set,
            until: request.until ?? null,
          },
          origin,
          source,
          labels: request.labels,
          group,
          onNewer: request.onNewer,
          gate,
          gateGeneration: 0,
          ...(waiting !== null && { gateState: waiting.state }),
          expectedGpuMs,
        },
        steps: steps.map((step, position) => newStepRow(step, position)),
      };
      const waits = hold === 'group' ? `, and waits in the concurrency group ${group}` : '';
      emit(
        run,
        'run',
        `${name} was ${origin.kind === 'person' ? `submitted by ${actor.name}` : `started by ${originText(origin)}`}${waits}`,
        { state },
      );
      if (held !== null) {
        changeRun(run, { cause: held });
        emit(run, 'run', `${name} is held: ${held}`, { state, cause: held });
      }
      const after = {
        ...{ name, recipe: recipe.name, dataset: `${dataset.name}@${dataset.version}`, priority: request.priority },
        ...(origin.kind === 'person' ? {} : { origin }),
        gate: request.gate,
        ...(held === null ? {} : { state, held }),
      };
      await audit(tx, actor, { action: 'run.submit', target: runId, before: null, after });
      await settleAndWrite(run);
      return hold === 'group';
    });
    if (isHeld && key !== null) await settleGroup(ctx, key);
  } catch (error) {
    const winner = idempotencyKey !== null && isUniqueViolation(error) ? await findByKey(ctx, actor, idempotencyKey, requestDigest) : null;
    if (!winner) throw error;
    return { runId: winner, created: false };
  }
  return { runId, created: true };
}

/** The place of a new run in its group, under the group's lock; null without a group. */
async function enterGroup(tx: Transaction, key: GroupKey | null): Promise<{ place: number; isFree: boolean } | null> {
  if (key === null) return null;
  await lockGroup(tx, key);
  return placeInGroup(tx, key);
}

/**
 * A digest of what was asked for. Where the request came from is not part of it: a CI job that is repeated may name another page. Fields at
 * their defaults are left out, so that a key survives the release that adds one.
 */
function digestOf({ source: _, labels, group, onNewer, gate, ...asked }: SubmitRequest): string {
  const isLabelled = Object.keys(labels).length > 0;
  return sha256(
    canonicalJson({ ...asked, ...gateAsked(gate), ...(isLabelled ? { labels } : {}), ...(group === undefined ? {} : { group, onNewer }) }),
  );
}

function gateAsked(gate: SubmitRequest['gate']): object {
  if (gate === undefined) return {};
  const { evaluateBaseline, ...asked } = gate;
  return { gate: evaluateBaseline ? gate : asked };
}

function newStep(plan: StepPlan, given: Given[]): WorkStep {
  const { needs, name, wants: _, ...kindAndSettings } = plan;
  const { slots, maxAttempts } = rulesOf(plan);
  return {
    ...kindAndSettings,
    id: newId('step'),
    name,
    needs,
    given,
    slots,
    maxAttempts,
    state: 'blocked',
    generation: 1,
    artifact: null,
    attempts: [],
    lastOrdinal: 0,
    failures: {},
    finalizing: false,
    shardsTotal: null,
    shardsCommitted: 0,
    readyAt: null,
    startedAt: null,
  };
}

const newStepRow = (step: WorkStep, position: number): NewStep => {
  const { id, name, kind, settings, needs, given, slots, maxAttempts, state, failures } = step;
  return {
    id,
    position,
    name,
    kind,
    settings,
    needs,
    given,
    pool: rulesOf(step).pool,
    slots,
    maxAttempts,
    loaderBytes: loaderBytes(step),
    state,
    failures,
  };
};

async function findByKey(ctx: EngineContext, actor: Actor, idempotencyKey: string, requestDigest: string): Promise<string | null> {
  const run = await ctx.prisma.run.findUnique({
    where: { projectId_idempotencyKey: { projectId: actor.projectId, idempotencyKey } },
    select: { id: true, requestDigest: true },
  });
  if (!run) return null;
  if (run.requestDigest === requestDigest) return run.id;
  throw new CairnError(
    'idempotency_conflict',
    `Idempotency-Key "${idempotencyKey}" was already used for another request, which created run ${run.id}; use a new key`,
    {
      details: { runId: run.id },
    },
  );
}

const live = { state: { in: liveRunStates } };

/**
 * Rejects another run when the project or its owner has as many live runs as allowed. Concurrent submissions may exceed the quota by the
 * few that the api handles at the same time.
 *
 * @throws CairnError `quota_exceeded` that names the quota
 */
export async function checkRunQuotas(
  { limits }: EngineContext,
  db: PrismaClient | Transaction,
  run: { projectId: string; owner: string },
): Promise<void> {
  const { projectId, owner } = run;
  const quotas = [
    { most: limits.ownerRuns, where: { projectId, owner }, whose: owner, setting: 'CAIRN_OWNER_RUNS' },
    { most: limits.projectRuns, where: { projectId }, whose: `the project ${projectId}`, setting: 'CAIRN_PROJECT_RUNS' },
  ];
  for (const { most, where, whose, setting } of quotas) {
    if (most === 0 || (await db.run.count({ where: { ...where, ...live } })) < most) continue;
    throw new CairnError('quota_exceeded', `${whose} has ${most} live runs, the maximum (${setting})`, {
      details: { setting, most },
    });
  }
}
