import { once } from 'node:events';
import { isCairnError } from '@cairn/contract';
import { listen, type PrismaClient, wakeChannel } from '@cairn/db';
import {
  acquireLead,
  collectWhenDue,
  type Leadership,
  noteBudgets,
  recordPools,
  releaseLead,
  removeOldDeliveries,
  serveTimers,
  startAcceptedDeliveries,
  trimDeliveries,
} from '@cairn/engine';
import { type Logger, pause } from '@cairn/runtime';
import { removeFolder } from '@cairn/storage';
import { admitOnce, hasMoreRoom, type RoomReadings } from './admission.ts';
import type { ApiHealth } from './health.ts';
import { type ControllerParts, createTrigger, type LeaderParts } from './parts.ts';
import { consumeLaunch, isBoundToMachine } from './serve-queues.ts';
import { reconcileOnce, watchOnce } from './watching.ts';

const intervalMs = {
  ...{ admit: 5_000, watch: 1_000, reconcile: 2_000, timers: 1_000, budgets: 60_000, collect: 600_000 },
  ...{ deliveries: 5_000, oldDeliveries: 600_000, trim: 300_000 },
};
/** How long launches in progress may take to end when the lead is lost. */
const launchLimitMs = 5_000;

/** Leads until the signal aborts: admits on every change, watches what runs, and repairs what was lost. */
export async function runLeader(parts: ControllerParts, health: ApiHealth, lead: Leadership, outer: AbortSignal): Promise<void> {
  const end = new AbortController();
  const signal = AbortSignal.any([outer, end.signal]);
  await parts.queues.waitUntilReady({ signal });
  await recordPools(parts.ctx, parts.pools);
  const launches = isBoundToMachine(parts) ? consumeLaunch(parts, signal) : null;
  const stop = startLoops({ ...parts, lead, signal }, health, (error) => {
    if (signal.aborted) return;
    // Another controller leads: its epoch makes our writes fail, so nothing here may continue.
    if (isCairnError(error, 'superseded')) end.abort();
    else parts.log.error({ err: error }, 'a round of the leader failed; retrying');
  });
  if (!signal.aborted) await once(signal, 'abort');
  await Promise.all([stop(), launches?.close(launchLimitMs)]);
}

/** Starts the loops. Returns a function that stops them. */
function startLoops(leader: LeaderParts, health: ApiHealth, onError: (error: unknown) => void): () => Promise<void> {
  const { signal, log } = leader;
  const readings: RoomReadings = new Map();
  let timer: NodeJS.Timeout | null = null;
  const admission = createTrigger({
    everyMs: intervalMs.admit,
    onError,
    work: async () => {
      const next = await admitOnce(leader, readings);
      if (timer) clearTimeout(timer);
      timer = next === null ? null : setTimeout(() => admission.fire(), Math.max(10, next - Date.now()));
    },
  });
  const watch = createTrigger({
    everyMs: intervalMs.watch,
    onError,
    work: async () => {
      // First: a step that waits for room must not wait for the check of what runs.
      if (await hasMoreRoom(leader, readings)) admission.fire();
      await watchOnce(leader, health);
    },
  });
  const reconcile = createTrigger({ everyMs: intervalMs.reconcile, onError, work: () => reconcileOnce(leader) });
  const timers = createTrigger({ everyMs: intervalMs.timers, onError, work: () => serveTimers(leader.ctx, leader.lead) });
  const deliveries = createTrigger({ everyMs: intervalMs.deliveries, onError, work: () => startAcceptedDeliveries(leader.ctx, signal) });
  const oldDeliveries = createTrigger({ everyMs: intervalMs.oldDeliveries, onError, work: () => removeOldDeliveries(leader.ctx) });
  const trim = createTrigger({ everyMs: intervalMs.trim, onError, work: () => trimDeliveries(leader.ctx.prisma, new Date()) });
  const budgets = createTrigger({ everyMs: intervalMs.budgets, onError, work: () => noteBudgets(leader.ctx, leader.lead) });
  const collection = createTrigger({
    everyMs: intervalMs.collect,
    onError,
    work: async () => {
      // What is marked is removed by the next leader's collection.
      const remove = async (prefix: string, except?: ReadonlySet<string>) => {
        signal.throwIfAborted();
        return removeFolder(leader.store, prefix, except);
      };
      for (const { totals } of await collectWhenDue(leader.ctx, remove, leader.lead)) log.info({ ...totals }, 'collected garbage');
    },
  });
  const loops = [admission, watch, reconcile, timers, deliveries, oldDeliveries, trim, budgets, collection];
  listen({
    url: leader.databaseUrl,
    channels: [wakeChannel],
    onNotification: () => admission.fire(),
    onConnect: () => admission.fire(),
    onError: (error) => log.warn({ err: error }, 'the LISTEN connection broke; reconnecting'),
    signal,
  });
  const unsubscribe = [...leader.executors.values()].map((executor) => executor.onChange(() => watch.fire()));
  for (const loop of loops) loop.fire();
  return async () => {
    if (timer) clearTimeout(timer);
    for (const stop of unsubscribe) stop();
    await Promise.all(loops.map((loop) => loop.close()));
  };
}

type LeaderElectionOptions = {
  prisma: PrismaClient;
  holder: string;
  /** The lead expires this long after it was last acquired or renewed. */
  ttlMs: number;
  log: Logger;
  signal: AbortSignal;
  /** Runs while this process leads; must end soon after the signal aborts. */
  lead(leadership: Leadership, signal: AbortSignal): Promise<void>;
};

/**
 * Takes part in leader election for as long as the program runs: acquires the lead when it is free, renews it, and stops leading when it
 * could not be renewed in time by this machine's clock. The epoch in every guard protects against errors of that clock.
 */
export async function runLeaderElection({ prisma, holder, ttlMs, log, signal, lead }: LeaderElectionOptions): Promise<void> {
  const renewEveryMs = ttlMs / 4;
  while (!signal.aborted) {
    const leadership = await acquireLead(prisma, holder, ttlMs).catch((error: unknown) => {
      log.warn({ err: error }, 'leader election failed; retrying');
      return null;
    });
    if (!leadership) {
      await pause(renewEveryMs, signal);
      continue;
    }
    log.info({ epoch: leadership.epoch }, 'became leader');
    await holdLead(leadership);
    log.info({ epoch: leadership.epoch }, 'no longer leader');
  }

  async function holdLead(leadership: Leadership): Promise<void> {
    const end = new AbortController();
    const leading = lead(leadership, AbortSignal.any([signal, end.signal])).catch((error: unknown) =>
      log.error({ err: error }, 'lost leadership: the leader failed'),
    );
    const over = leading.then(() => end.abort());
    let renewedAt = performance.now();
    while (!signal.aborted && !end.signal.aborted) {
      await pause(renewEveryMs, AbortSignal.any([signal, end.signal]));
      const requestedAt = performance.now();
      const renewed = await acquireLead(prisma, holder, ttlMs).catch((error: unknown) => {
        log.warn({ err: error }, 'could not renew the lead');
        return undefined;
      });
      if (renewed?.epoch === leadership.epoch) renewedAt = requestedAt;
      // Another epoch: the lead was lost in between. Undefined: the database did not answer; wait until the lead has expired.
      else if (renewed !== undefined || performance.now() - renewedAt > ttlMs) end.abort();
    }
    end.abort();
    await over;
    await releaseLead(prisma, leadership).catch((error: unknown) =>
      log.warn({ err: error }, 'could not release the lead; it expires by itself'),
    );
  }
}
