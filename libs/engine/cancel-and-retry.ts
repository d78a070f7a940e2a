import { CairnError, isDoneStep } from '@cairn/contract';
import { audit } from './audit.ts';
import { whyHeld } from './budgets.ts';
import type { Actor, EngineContext } from './engine.ts';
import { lockGiven } from './external-inputs.ts';
import { changeRun, changeStep, emit, type RunWork, requireAction, type WorkStep } from './run-work.ts';
import { moveRun } from './settle.ts';
import { checkRunQuotas } from './submit.ts';
import { withRun } from './with-run.ts';

/** Asks a run to stop. Its attempts save what they can within their grace period; finished results are kept. */
export async function cancelRun(ctx: EngineContext, runId: string, actor: Actor, reason: string): Promise<void> {
  await withRun(ctx, runId, async (run) => {
    if (run.projectId !== actor.projectId) throw new CairnError('not_found', `run ${runId} not found`);
    if (run.state === 'cancelling' || run.state === 'cancelled') return;
    requireAction(run, 'cancel');
    const before = { state: run.state };
    moveRun(run, 'cancelling', reason ? `user: ${reason}` : `user: ${actor.name}`);
    await audit(run.tx, actor, { action: 'run.cancel', target: run.id, before, after: { state: run.state }, details: { reason } });
  });
}

/**
 * Reopens an ended run: every failed or cancelled step and every one whose result was given up, and with `from` also that step and all that depend on it, which then run again even
 * if their results exist.
 */
export async function retryRun(ctx: EngineContext, runId: string, actor: Actor, from: string | null): Promise<void> {
  await withRun(ctx, runId, async (run) => {
    if (run.projectId !== actor.projectId) throw new CairnError('not_found', `run ${runId} not found`);
    requireAction(run, 'retry');
    const again = from === null ? new Set<string>() : dependents(run, from);
    // A step whose result was given up makes it again.
    const reset = run.steps.filter((step) => again.has(step.name) || !isDoneStep(step.state) || step.artifact === null);
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
    for (const step of reset) block(run, step);
    changeRun(run, { finishedAt: null, cause: null, verdict: 'none' });
    moveRun(run, held === null ? 'running' : 'held', held);
    const after = { state: run.state, steps: Object.fromEntries(reset.map(({ name, state }) => [name, state])) };
    await audit(run.tx, actor, { action: 'run.retry', target: run.id, before, after, details: { from } });
    emit(run, 'note', `${actor.name} retries ${reset.map((step) => step.name).join(', ')}`, {});
  });
}

/** Lets a held run start, or continue if it was held as it was retried, whatever held it. */
export async function releaseRun(ctx: EngineContext, runId: string, actor: Actor): Promise<void> {
  await withRun(ctx, runId, async (run) => {
    if (run.projectId !== actor.projectId) throw new CairnError('not_found', `run ${runId} not found`);
    requireAction(run, 'release');
    const { startedAt, cause } = await run.tx.run.findUniqueOrThrow({ where: { id: run.id }, select: { startedAt: true, cause: true } });
    changeRun(run, { cause: null });
    moveRun(run, startedAt === null ? 'queued' : 'running', null);
    await audit(run.tx, actor, { action: 'run.release', target: run.id, before: { state: 'held', cause }, after: { state: run.state } });
    emit(run, 'note', `${actor.name} released ${run.name}`, {});
  });
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
