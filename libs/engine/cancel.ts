import { CairnError } from '@cairn/contract';
import { audit } from './audit.ts';
import type { EngineContext } from './context.ts';
import type { Actor } from './engine.ts';
import { requireAction } from './run-work.ts';
import { moveRun } from './settle.ts';
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
