import { finalizeStep } from './finalizing.ts';
import { launchAttempt } from './launching.ts';
import type { ControllerParts } from './parts.ts';

const concurrency = { launch: 8, finalize: 2 };

/**
 * Consumes the queues in every controller, leader or spare: the rows say whether an entry is still due. In a pool of a single machine
 * (processes or a Docker engine) only the leader starts attempts, with {@link consumeLaunch}, since another replica may be on another
 * machine.
 */
export async function serveQueues(parts: ControllerParts, signal: AbortSignal): Promise<void> {
  const { queues, log } = parts;
  for (let isReady = false; !isReady; ) {
    if (signal.aborted) return;
    isReady = await queues.waitUntilReady({ signal }).then(
      () => true,
      (error: unknown) => {
        if (!signal.aborted) log.warn({ err: error }, 'the queue is not responding yet');
        return false;
      },
    );
  }
  queues.consume('finalize', {
    concurrency: concurrency.finalize,
    handler: (entry, jobSignal) => finalizeStep(parts, entry.stepId, entry.generation, AbortSignal.any([signal, jobSignal])),
  });
  if (!isBoundToMachine(parts)) consumeLaunch(parts, signal);
}

export function consumeLaunch(parts: ControllerParts, signal: AbortSignal) {
  return parts.queues.consume('launch', {
    concurrency: concurrency.launch,
    handler: (entry, jobSignal) => launchAttempt(parts, entry.attemptId, entry.generation, AbortSignal.any([signal, jobSignal])),
  });
}

/** True when a pool runs its attempts on the machine of the controller that starts them. */
export const isBoundToMachine = ({ pools }: Pick<ControllerParts, 'pools'>): boolean =>
  pools.some(({ executor }) => executor === 'process' || executor === 'docker');
