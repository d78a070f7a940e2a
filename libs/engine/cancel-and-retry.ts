import { CairnError, featuresDetails, isDoneStep } from '@cairn/contract';
import { audit } from './audit.ts';
import { whyHeld } from './budgets.ts';
import { keepRereading, rereadRejected } from './earlier-features.ts';
import type { Actor, EngineContext, RetryOptions } from './engine.ts';
import { lockGiven } from './external-inputs.ts';
import { changeRun, changeStep, emit, type RunWork, requireAction, type WorkStep } from './run-work.ts';
import { moveRun } from './settle.ts';
import { checkRunQuotas } from './submit.ts';
import { lockGroup, placeInGroup, settleGroup, withRun } from './with-run.ts';

/** Asks a run to stop. Its attempts save what they can within their grace period; finished results are kept. */
export async function cancelRun(ctx: EngineContext, runId: string, actor: Actor, reason: string): Promise<void> {
  await withRun(ctx, runId, async (run) => {
    if (run.projectId !== actor.projectId) throw new CairnError('not_found', `run ${runId} not found`);
    if (run.state === 'cancelling' || run.state === 'cancelled') return;
    requireAction(run, 'cancel');
    const before = { state: run.state };
    changeRun(run, { cancelCause: 'person' });
    moveRun(run, 'cancelling', reason ? `by ${actor.name}: ${reason}` : `by ${actor.name}`);
    await audit(run.tx, actor, { action: 'run.cancel', target: run.id, before, after: { state: run.state }, details: { reason } });
  });
}

/**
 * Reopens an ended run: every failed or cancelled step and every one whose result was given up, and with `from` also that step and all
 * that depend on it, which then run again even if their results exist. With `rejected` the same for extractions that rejected images: they
 * take over all features, and what depends on them runs again where a set has changed.
 */
export async function retryRun(
  ctx: EngineContext,
  runId: string,
  actor: Actor,
  from: string | null,
  { rejected = false }: RetryOptions = {},
): Promise<void> {
  const { projectId } = actor;
  const row = await ctx.prisma.run.findFirst({ where: { id: runId, projectId }, select: { group: true } });
  if (row === null) throw new CairnError('not_found', `run ${runId} not found`);
  const key = row.group === null ? null : { projectId, group: row.group };
  const retry = async (run: RunWork): Promise<boolean> => {
    requireAction(run, 'retry');
    const again = from === null ? new Set<string>() : dependents(run, from);
    const extractions = rejected ? await withRejected(run, from) : [];
    const after = new Set(extractions.flatMap(({ name }) => [...dependents(run, name)]));
    for (const { name } of extractions) again.add(name);
    // A step whose result was given up makes it again.
    const reset = run.steps.filter(
      (step) => again.has(step.name) || after.has(step.name) || !isDoneStep(step.state) || step.artifact === null,
    );
    if (reset.length === 0) throw new CairnError('wrong_state', `every step of run ${run.name} is done; name the step to rerun from`);
    await checkRunQuotas(ctx, run.tx, run);
    await lockGiven(run.tx, reset);
    await run.tx.run.update({ where: { id: run.id }, data: { retiredAt: null }, select: { id: true } });
    if (again.size > 0 && run.noReuse !== true) {
      run.noReuse = [...new Set([...(run.noReuse || []), ...again])];
      changeRun(run, { noReuse: run.noReuse });
    }
    const held = await whyHeld(run.tx, run);
    const before = { state: run.state, steps: Object.fromEntries(reset.map(({ name, state }) => [name, state])) };
    for (const step of extractions) await rereadRejected(run, step);
    for (const step of reset) if (!again.has(step.name)) await keepRereading(run, step);
    for (const step of reset) block(run, step);
    const entry = key === null ? null : await placeInGroup(run.tx, key);
    const hold = held !== null ? 'budget' : entry?.isFree === false ? 'group' : null;
    changeRun(run, {
      finishedAt: null,
      cause: null,
      cancelCause: null,
      verdict: 'none',
      ...(entry === null ? {} : { groupPlace: entry.place }),
      ...(hold === null ? {} : { hold }),
    });
    if (run.gate !== null) changeRun(run, { gateState: 'waiting', gateProblem: null, gateNotBefore: null });
    moveRun(run, hold === null ? 'running' : 'held', held);
    const changed = { state: run.state, steps: Object.fromEntries(reset.map(({ name, state }) => [name, state])) };
    await audit(run.tx, actor, {
      action: 'run.retry',
      target: run.id,
      before,
      after: changed,
      details: { from, ...(rejected && { rejected }) },
    });
    emit(run, 'note', `${actor.name} retries ${reset.map((step) => step.name).join(', ')}`, {});
    return run.state === 'held';
  };
  const isHeld = await withRun(ctx, runId, retry, async (tx) => {
    if (key !== null) await lockGroup(tx, key);
  });
  if (isHeld && key !== null) await settleGroup(ctx, key);
}

/**
 * Lets a held run start, or continue if it was held as it was retried. In a concurrency group it keeps the place that it had when it was
 * submitted or retried, so that runs that came after it are newer.
 *
 * @throws CairnError `wrong_state` for a run that waits for another one of its group
 */
export async function releaseRun(ctx: EngineContext, runId: string, actor: Actor): Promise<void> {
  const { projectId } = actor;
  const row = await ctx.prisma.run.findFirst({ where: { id: runId, projectId }, select: { group: true } });
  if (row === null) throw new CairnError('not_found', `run ${runId} not found`);
  const key = row.group === null ? null : { projectId, group: row.group };
  const release = async (run: RunWork): Promise<void> => {
    requireAction(run, 'release');
    const { hold, cause } = await run.tx.run.findUniqueOrThrow({ where: { id: run.id }, select: { hold: true, cause: true } });
    if (hold === 'group')
      throw new CairnError('wrong_state', `run ${run.name} waits for another run of the concurrency group ${run.group}`, {
        details: { remedy: 'It starts by itself when that run has ended; cancel that one to start it now.' },
      });
    const entry = key === null ? null : await placeInGroup(run.tx, key);
    changeRun(run, { cause: null });
    if (entry?.isFree === false) changeRun(run, { hold: 'group' });
    else moveRun(run, run.hasStarted ? 'running' : 'queued', null);
    await audit(run.tx, actor, { action: 'run.release', target: run.id, before: { state: 'held', cause }, after: { state: run.state } });
    emit(run, 'note', `${actor.name} released ${run.name}`, {});
  };
  await withRun(ctx, runId, release, async (tx) => {
    if (key !== null) await lockGroup(tx, key);
  });
  if (key !== null) await settleGroup(ctx, key);
}

/**
 * The extractions of a run whose sets lack rejected images, but for those that run again anyway.
 *
 * @throws CairnError `wrong_state` when there is none
 */
async function withRejected(run: RunWork, from: string | null): Promise<WorkStep[]> {
  const again = from === null ? new Set<string>() : dependents(run, from);
  const candidates = run.steps.filter((step) => step.kind === 'extract' && isDoneStep(step.state) && !again.has(step.name));
  const sets = await run.tx.artifact.findMany({
    where: { id: { in: candidates.flatMap(({ artifact }) => artifact?.id ?? []) }, state: 'ready' },
    select: { id: true, details: true },
  });
  const rejecting = new Set(sets.flatMap(({ id, details }) => ((featuresDetails.safeParse(details).data?.rejected ?? 0) > 0 ? [id] : [])));
  const found = candidates.filter(({ artifact }) => rejecting.has(artifact?.id ?? ''));
  if (found.length > 0) return found;
  throw new CairnError('wrong_state', `no extraction of run ${run.name} rejected an image, so there is none to read again`);
}

/** The step and all steps that need it, directly or indirectly. */
function dependents(run: RunWork, from: string): Set<string> {
  if (!run.steps.some((step) => step.name === from)) {
    throw new CairnError(
      'not_found',
      `run ${run.name} has no step "${from}"; its steps are ${run.steps.map((step) => step.name).join(', ')}`,
    );
  }
  const names = new Set([from]);
  for (const step of run.steps) if (step.needs.some((need) => names.has(need.step))) names.add(step.name);
  return names;
}

function block(run: RunWork, step: WorkStep): void {
  changeStep(run, step, {
    state: 'blocked',
    generation: step.generation + 1,
    artifact: null,
    reusedFromRunId: null,
    removed: null,
    failure: null,
    failures: {},
    progress: null,
    scores: {},
    notBefore: null,
    readyAt: null,
    startedAt: null,
    finishedAt: null,
    finalizing: false,
    shardsTotal: null,
    shardsCommitted: 0,
    rows: 0,
    rejected: 0,
  });
  step.attempts = [];
}
