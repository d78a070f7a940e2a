import { beginLaunch, recordPlace } from '@cairn/engine';
import { attemptToken } from '@cairn/runtime';
import { unknownPool } from './configuration.ts';
import type { Reign } from './parts.ts';

/** Starts one attempt where `admit` put it. Run again after a crash it adopts what was started. */
export async function launchAttempt(reign: Reign, attemptId: string, generation: number, signal: AbortSignal): Promise<void> {
  const launch = await beginLaunch(reign.ctx, attemptId, generation);
  if (!launch) return;
  const executor = reign.executors.get(launch.pool);
  if (!executor) throw unknownPool(launch.pool);
  const env = {
    ...reign.agentEnv,
    CAIRN_ATTEMPT_ID: attemptId,
    CAIRN_ATTEMPT_GENERATION: String(generation),
    CAIRN_ATTEMPT_TOKEN: attemptToken(reign.serverKey, attemptId, generation),
    CAIRN_INTERNAL_URL: reign.internalUrls.join(','),
  };
  const { place, handle } = await executor.start({ attemptId, generation, name: launch.name, slots: launch.slots, env }, signal);
  await recordPlace(reign.ctx, attemptId, generation, place, handle);
}
