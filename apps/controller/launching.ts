import { isDeepStrictEqual } from 'node:util';
import { type CairnError, isCairnError } from '@cairn/contract';
import { beginLaunch, recordLaunchFailure, recordPlace } from '@cairn/engine';
import { attemptToken } from '@cairn/runtime';
import { unknownPool } from './configuration.ts';
import type { ControllerParts } from './parts.ts';

type Launch = NonNullable<Awaited<ReturnType<typeof beginLaunch>>>;

/** Starts one attempt in the pool that `admit` chose. When repeated after a crash, it adopts what was already started. */
export async function launchAttempt(parts: ControllerParts, attemptId: string, generation: number, signal: AbortSignal): Promise<void> {
  const launch = await beginLaunch(parts.ctx, attemptId, generation);
  if (!launch) return;
  const executor = parts.executors.get(launch.pool);
  if (!executor) throw unknownPool(launch.pool);
  const env = {
    ...parts.agentEnv,
    CAIRN_ATTEMPT_ID: attemptId,
    CAIRN_ATTEMPT_GENERATION: String(generation),
    CAIRN_ATTEMPT_TOKEN: attemptToken(parts.serverKey, attemptId, generation),
    CAIRN_INTERNAL_URL: parts.internalUrls.join(','),
  };
  const { name, slots, loaderBytes, avoidNodes } = launch;
  const spec = { attemptId, generation, name, slots, env, loaderBytes, avoidNodes };
  try {
    const { place, handle } = await executor.start(spec, signal);
    await recordPlace(parts.ctx, attemptId, generation, place, handle);
  } catch (error) {
    // The leader queues it again; until then the step shows why it does not start.
    if (isCairnError(error) && !signal.aborted) await recordFailure(parts, launch, error);
    throw error;
  }
}

async function recordFailure({ ctx }: ControllerParts, launch: Launch, { code, message }: CairnError): Promise<void> {
  const finding = { code, message: `cannot be started: ${message}`, since: launch.createdAt.toISOString() };
  if (!isDeepStrictEqual(finding, launch.finding)) await recordLaunchFailure(ctx, launch, finding);
}
