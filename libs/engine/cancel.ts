import { CairnError } from '@cairn/contract';
import type { EngineContext } from './context.ts';
import type { Actor } from './engine.ts';
import { requireAction } from './run-work.ts';
import { moveRun } from './settle.ts';
import { withRun } from './with-run.ts';

/** Asks a run to stop. Its attempts save what they can within their grace; its finished results stay. */
export async function cancelRun(ctx: EngineContext, runId: string, actor: Actor, reason: string): Promise<void> {
  await withRun(ctx, runId, async (run) => {
    if (run.projectId !== actor.projectId) throw new CairnError('not_found', `there is no run ${runId}`);
    if (run.state === 'cancelling' || run.state === 'cancelled') return;
    requireAction(run, 'cancel');
    moveRun(run, 'cancelling', reason ? `user: ${reason}` : `user: ${actor.name}`);
  });
}
