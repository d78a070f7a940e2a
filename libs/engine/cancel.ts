import { CairnError } from '@cairn/contract';
import { isEndedRun } from '@cairn/domain';
import type { EngineContext } from './context.ts';
import type { Actor } from './engine.ts';
import { moveRun } from './settle.ts';
import { withRun } from './with-run.ts';

/** Asks a run to stop. Its attempts save what they can within their grace; its finished results stay. */
export async function cancelRun(ctx: EngineContext, runId: string, actor: Actor, reason: string): Promise<void> {
  await withRun(ctx, runId, async (run) => {
    if (run.projectId !== actor.projectId) throw new CairnError('not_found', `there is no run ${runId}`);
    if (run.state === 'cancelling' || run.state === 'cancelled') return;
    if (isEndedRun(run.state))
      throw new CairnError('wrong_state', `run ${run.name} is ${run.state}; only a run that is held, queued or running can be cancelled`);
    moveRun(run, 'cancelling', reason ? `user: ${reason}` : `user: ${actor.name}`);
  });
}
