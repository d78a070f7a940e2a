import { once } from 'node:events';
import { isCairnError } from '@cairn/contract';
import { listen, wakeChannel } from '@cairn/db';
import { type Leadership, recordPools } from '@cairn/engine';
import { admitOnce } from './admission.ts';
import type { ApiHealth } from './api-health.ts';
import type { ControllerParts, Reign } from './parts.ts';
import { reconcileOnce } from './reconciling.ts';
import { hasMoreRoom, type RoomLooks } from './room.ts';
import { consumeLaunch, isBoundToMachine } from './serve-queues.ts';
import { createTrigger } from './trigger.ts';
import { watchOnce } from './watching.ts';

const everyMs = { admit: 5_000, watch: 1_000, reconcile: 2_000 };
/** How long starts under way may take to end with the lead. */
const launchLimitMs = 5_000;

/** Leads until the signal aborts: admits on every change, watches what runs, and repairs what was lost. */
export async function leadUntil(parts: ControllerParts, health: ApiHealth, lead: Leadership, outer: AbortSignal): Promise<void> {
  const end = new AbortController();
  const signal = AbortSignal.any([outer, end.signal]);
  await parts.queues.waitUntilReady({ signal });
  await recordPools(parts.ctx, parts.pools);
  const launches = isBoundToMachine(parts) ? consumeLaunch(parts, signal) : null;
  const stop = startLoops({ ...parts, lead, signal }, health, (error) => {
    if (signal.aborted) return;
    // Another leads: its epoch refuses our writes, so nothing here may go on.
    if (isCairnError(error, 'superseded')) end.abort();
    else parts.log.error({ err: error }, 'a round of the leader failed; it is tried again');
  });
  if (!signal.aborted) await once(signal, 'abort');
  await Promise.all([stop(), launches?.close(launchLimitMs)]);
}

/** Starts the three rounds. Answers what ends them. */
function startLoops(reign: Reign, health: ApiHealth, onError: (error: unknown) => void): () => Promise<void> {
  const { signal, log } = reign;
  const looks: RoomLooks = new Map();
  let timer: NodeJS.Timeout | null = null;
  const admission = createTrigger({
    everyMs: everyMs.admit,
    onError,
    work: async () => {
      const next = await admitOnce(reign, looks);
      if (timer) clearTimeout(timer);
      timer = next === null ? null : setTimeout(() => admission.fire(), Math.max(10, next - Date.now()));
    },
  });
  const watch = createTrigger({
    everyMs: everyMs.watch,
    onError,
    work: async () => {
      // First: whoever waits for room does not wait for what runs.
      if (await hasMoreRoom(reign, looks)) admission.fire();
      await watchOnce(reign, health);
    },
  });
  const reconcile = createTrigger({ everyMs: everyMs.reconcile, onError, work: () => reconcileOnce(reign) });
  listen({
    url: reign.databaseUrl,
    channels: [wakeChannel],
    onNotification: () => admission.fire(),
    onConnect: () => admission.fire(),
    onError: (error) => log.warn({ err: error }, 'the listening connection broke; it is made again'),
    signal,
  });
  const unsubscribe = [...reign.executors.values()].map((executor) => executor.onChange(() => watch.fire()));
  for (const trigger of [admission, watch, reconcile]) trigger.fire();
  return async () => {
    if (timer) clearTimeout(timer);
    for (const stop of unsubscribe) stop();
    await Promise.all([admission.close(), watch.close(), reconcile.close()]);
  };
}
