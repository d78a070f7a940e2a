import { isCairnError } from '@cairn/contract';
import { listen, wakeChannel } from '@cairn/db';
import { type Leadership, recordPools } from '@cairn/engine';
import { admitOnce } from './admission.ts';
import type { ApiHealth } from './api-health.ts';
import { finalizeStep } from './finalizing.ts';
import { launchAttempt } from './launching.ts';
import type { ControllerParts, Reign } from './parts.ts';
import { reconcileOnce } from './reconciling.ts';
import { createTrigger } from './trigger.ts';
import { watchOnce } from './watching.ts';

const everyMs = { admit: 5_000, watch: 1_000, reconcile: 2_000 };
const concurrency = { launch: 8, finalize: 2 };

/** Leads until the signal aborts: admits on every change, watches what runs, repairs what was lost, and serves its queues. */
export async function leadUntil(parts: ControllerParts, health: ApiHealth, lead: Leadership, outer: AbortSignal): Promise<void> {
  const end = new AbortController();
  const signal = AbortSignal.any([outer, end.signal]);
  const reign: Reign = { ...parts, lead, signal };
  const onError = (error: unknown) => {
    if (signal.aborted) return;
    // Another leads: its epoch refuses our writes. The campaign notices by itself; nothing here may go on.
    if (isCairnError(error, 'superseded')) end.abort();
    else parts.log.error({ err: error }, 'a round of the leader failed; it is tried again');
  };
  await recordPools(parts.ctx, parts.pools);
  let timer: NodeJS.Timeout | null = null;
  const admission = createTrigger({
    everyMs: everyMs.admit,
    onError,
    work: async () => {
      const next = await admitOnce(reign);
      if (timer) clearTimeout(timer);
      timer = next === null ? null : setTimeout(() => admission.fire(), Math.max(10, next - Date.now()));
    },
  });
  const watch = createTrigger({ everyMs: everyMs.watch, onError, work: () => watchOnce(reign, health) });
  const reconcile = createTrigger({ everyMs: everyMs.reconcile, onError, work: () => reconcileOnce(reign) });
  listen({
    url: parts.databaseUrl,
    channels: [wakeChannel],
    onNotification: () => admission.fire(),
    onConnect: () => admission.fire(),
    onError: (error) => parts.log.warn({ err: error }, 'the listening connection broke; it is made again'),
    signal,
  });
  const unsubscribe = [...parts.executors.values()].map((executor) => executor.onChange(() => watch.fire()));
  const consumers = [
    await parts.queues.consume('launch', {
      concurrency: concurrency.launch,
      handler: (data, jobSignal) => launchAttempt(reign, data.attemptId, data.generation, AbortSignal.any([signal, jobSignal])),
    }),
    await parts.queues.consume('finalize', {
      concurrency: concurrency.finalize,
      handler: (data, jobSignal) => finalizeStep(reign, data.stepId, data.generation, AbortSignal.any([signal, jobSignal])),
    }),
  ];
  for (const trigger of [admission, watch, reconcile]) trigger.fire();
  if (!signal.aborted) await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
  if (timer) clearTimeout(timer);
  for (const stop of unsubscribe) stop();
  await Promise.all([admission.close(), watch.close(), reconcile.close(), ...consumers.map((consumer) => consumer.close())]);
}
