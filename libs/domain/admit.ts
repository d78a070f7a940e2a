import type { PoolRoom, WaitingReason } from '@cairn/contract';

/** A step that wants attempts: one that is ready, or a fleet that may grow. */
export type WaitingStep = {
  stepId: string;
  runId: string;
  runName: string;
  name: string;
  /** True for a step whose shards many attempts share, such as an extraction. */
  isFleet: boolean;
  owner: string;
  priority: number;
  /** Milliseconds since the epoch at which it became ready. */
  readyAt: number;
  /** Earliest start, in milliseconds since the epoch. */
  notBefore: number | null;
  /** `tasks` or `gpu`. */
  pool: 'tasks' | 'gpu';
  slots: number;
  /** Its live attempts. */
  live: number;
  /** Attempts that it can use: 1, or for a fleet at most one per remaining shard. */
  wanted: number;
  /** Shards of a fleet that are not committed: each slot of an attempt works on one at a time. Null before they are planned. */
  openShards: number | null;
};

/** An attempt that holds slots. */
export type RunningAttempt = {
  attemptId: string;
  stepId: string;
  /** Its step and run, for messages: `extract_index of mini-3`. */
  label: string;
  pool: string;
  slots: number;
  owner: string;
  isFleet: boolean;
  stopping: boolean;
  startedAt: number;
  /** The number of shards that an attempt of a fleet is working on. */
  leasedShards: number;
};

export type PoolCapacity = {
  name: string;
  slots: number;
  /** Slots that every attempt holds there regardless of its step, as a pod does; null: as many as the step asks for. */
  attemptSlots: number | null;
  /** Null when only the slots decide. */
  room: PoolRoom | null;
};

export type Admission = {
  launch: Launch[];
  /** Fleet attempts to stop for a waiting step that is not a fleet, the least busy first. */
  shrink: { attemptId: string; for: string }[];
  /** Why each step that got no attempt waits. */
  reasons: Map<string, Reason>;
};

/** `attempts` new attempts of a step, each of which holds `slots`. */
export type Launch = { stepId: string; pool: string; slots: number; attempts: number };

/** Slots that an attempt of the step holds in the pool, or null when it does not fit even into an empty pool. */
export function slotsIn(pool: Pick<PoolCapacity, 'slots' | 'attemptSlots'>, step: Pick<WaitingStep, 'slots'>): number | null {
  const slots = pool.attemptSlots ?? step.slots;
  return step.slots <= slots && slots <= pool.slots ? slots : null;
}

/** A pool during one run of {@link admit}. */
export type PoolState = PoolCapacity & {
  freeSlots: number;
  /** Attempts that its machines can still hold. */
  fits: number;
  /** The first step that could not start: steps behind it may use `spare` slots, and `behind` of them wait. */
  head: { step: WaitingStep; slots: number; spare: number; behind: number } | null;
};

/**
 * The one function that decides what starts: priority, then the owner with the fewest busy slots, then age. A step that does not fit
 * becomes its pool's head: behind it only steps that can run in parallel with it start (backfill never delays the head). A step that is not
 * a fleet and waits for slots that fleets hold makes them shrink. Where a pool's machines are known, an attempt starts only if one of them
 * can hold it now. Pure; run by the leader on every change and by the api to explain.
 *
 * @param pools the pools for `gpu` steps in order of preference, and one named `tasks`
 */
export function admit(
  waiting: readonly WaitingStep[],
  running: readonly RunningAttempt[],
  pools: readonly PoolCapacity[],
  now: number,
): Admission {
  const states = pools.map(
    (pool): PoolState => ({ ...pool, freeSlots: pool.slots, fits: pool.room?.fits ?? Number.POSITIVE_INFINITY, head: null }),
  );
  const ownerBusy = new Map<string, number>();
  for (const attempt of running) {
    const state = states.find((candidate) => candidate.name === attempt.pool);
    if (state) state.freeSlots -= attempt.slots;
    ownerBusy.set(attempt.owner, (ownerBusy.get(attempt.owner) ?? 0) + attempt.slots);
  }
  const result: Admission = { launch: [], shrink: [], reasons: new Map() };

  /** The slots that the step's new attempt holds, or 0 and a reason when it cannot start. */
  const place = (step: WaitingStep): number => {
    const candidates = states.filter((pool) => (pool.name === 'tasks') === (step.pool === 'tasks'));
    const fitting = candidates.flatMap((pool) => {
      const slots = slotsIn(pool, step);
      return slots === null ? [] : [{ pool, slots }];
    });
    for (const { pool, slots } of fitting) {
      if (pool.freeSlots < slots || pool.fits < 1) continue;
      if (pool.head && pool.head.spare < slots) continue;
      pool.freeSlots -= slots;
      pool.fits -= 1;
      if (pool.head) pool.head.spare -= slots;
      ownerBusy.set(step.owner, (ownerBusy.get(step.owner) ?? 0) + slots);
      const launched = result.launch.find((item) => item.stepId === step.stepId && item.pool === pool.name);
      if (launched) launched.attempts += 1;
      else result.launch.push({ stepId: step.stepId, pool: pool.name, slots, attempts: 1 });
      return slots;
    }
    const first = fitting[0];
    if (first) hold(step, first.pool, first.slots);
    else result.reasons.set(step.stepId, noPool(step, pools, candidates));
    return 0;
  };

  /** Records why the step waits, and makes it the pool's head or shrinks fleets where needed. */
  const hold = (step: WaitingStep, pool: PoolState, slots: number): void => {
    if (pool.head) {
      result.reasons.set(step.stepId, { code: 'behind', sentence: behindHead(pool, pool.head), stepId: pool.head.step.stepId });
      pool.head.behind += 1;
      return;
    }
    const attemptIds = running.filter((attempt) => attempt.pool === pool.name).map((attempt) => attempt.attemptId);
    result.reasons.set(step.stepId, { code: 'capacity', sentence: noRoom(pool, slots, running), attemptIds });
    if (step.live === 0) pool.head = { step, slots, spare: pool.slots - slots, behind: 0 };
    if (!step.isFleet) shrinkFor(step, pool, slots);
  };

  const shrinkFor = (step: WaitingStep, pool: PoolState, slots: number): void => {
    const missing = pool.fits < 1 ? slots : slots - pool.freeSlots;
    const fleets = running.filter((attempt) => attempt.pool === pool.name && attempt.isFleet);
    const sumOf = (attempts: readonly RunningAttempt[]) => attempts.reduce((sum, attempt) => sum + attempt.slots, 0);
    let freed = sumOf(fleets.filter((attempt) => attempt.stopping)) + (pool.room?.leaving ?? 0) * slots;
    const candidates = fleets
      .filter((attempt) => !attempt.stopping)
      .sort((a, b) => a.leasedShards - b.leasedShards || b.startedAt - a.startedAt);
    if (freed + sumOf(candidates) < missing) return;
    for (const attempt of candidates) {
      if (freed >= missing) return;
      result.shrink.push({ attemptId: attempt.attemptId, for: labelOf(step) });
      freed += attempt.slots;
    }
  };

  const due = waiting.filter((step) => {
    if (step.notBefore === null || step.notBefore <= now) return true;
    const seconds = Math.ceil((step.notBefore - now) / 1000);
    result.reasons.set(step.stepId, { code: 'backoff', sentence: `retrying in ${seconds} s after a failed attempt` });
    return false;
  });
  // Steps without an attempt come first; further attempts of fleets come after all of them.
  const order = (a: WaitingStep, b: WaitingStep): number =>
    b.priority - a.priority ||
    Number(a.isFleet) - Number(b.isFleet) ||
    (ownerBusy.get(a.owner) ?? 0) - (ownerBusy.get(b.owner) ?? 0) ||
    a.readyAt - b.readyAt ||
    (a.stepId < b.stepId ? -1 : 1);
  for (const step of due.filter((item) => item.live === 0).sort(order)) place(step);
  for (const step of due.filter((item) => item.isFleet).sort(order)) {
    const got = result.launch.filter((item) => item.stepId === step.stepId);
    const count = got.reduce((sum, item) => sum + item.attempts, 0);
    if (step.live === 0 && count === 0) continue;
    const mine = running.filter((attempt) => attempt.stepId === step.stepId && !attempt.stopping);
    // An attempt works on as many shards at a time as it has slots: further attempts would have nothing to do.
    let places = mine.reduce((sum, item) => sum + item.slots, 0) + got.reduce((sum, item) => sum + item.slots * item.attempts, 0);
    for (let more = step.wanted - step.live - count; more > 0 && places < (step.openShards ?? Number.POSITIVE_INFINITY); more -= 1) {
      const slots = place({ ...step, live: 1 });
      if (slots === 0) break;
      places += slots;
    }
    // A fleet that has an attempt does not wait.
    result.reasons.delete(step.stepId);
  }
  return result;
}

// The sentences that say why a step waits: the same in the API, the CLI and the dashboard.

type Reason = Omit<WaitingReason, 'since'> & {
  /** The attempts that hold the places. */
  attemptIds?: readonly string[];
  /** The step ahead. */
  stepId?: string;
};

/** The name of a step for people. */
const labelOf = (step: WaitingStep): string => `${step.name} of ${step.runName}`;

/**
 * No pool can hold the step, even when empty. `candidates` are the pools for its kind; there are none until a controller has reported them.
 */
function noPool(step: WaitingStep, pools: readonly PoolCapacity[], candidates: readonly PoolCapacity[]): Reason {
  if (pools.length === 0) return { code: 'launching', sentence: 'the controller has not reported its pools yet' };
  if (candidates.length === 0) return { code: 'capacity', sentence: 'no pool is configured for this kind of step' };
  const largest = Math.max(...candidates.map((pool) => pool.attemptSlots ?? pool.slots));
  return { code: 'capacity', sentence: `needs ${step.slots} slots at once, but the largest pool gives an attempt only ${largest}` };
}

/** The step ahead, what it needs, and how many others wait in between. */
function behindHead(pool: PoolState, { step, slots, behind: others }: NonNullable<PoolState['head']>): string {
  const needs =
    pool.freeSlots < slots ? `${slots} of the ${pool.slots} slots of pool ${pool.name}` : `room in pool ${pool.name} (${machines(pool)})`;
  return `waiting behind ${labelOf(step)}, which needs ${needs}${others > 0 ? `, and behind ${others} more` : ''}`;
}

/** The step is next in the pool: what is free there, and which steps hold the rest. */
function noRoom(pool: PoolState, slots: number, running: readonly RunningAttempt[]): string {
  const holders = [...new Set(running.filter((attempt) => attempt.pool === pool.name).map((attempt) => attempt.label))];
  const named = `${holders.slice(0, 2).join(' and ')}${holders.length > 2 ? ` and ${holders.length - 2} more` : ''}`;
  const isOne = holders.length === 1;
  if (pool.freeSlots >= slots) {
    const ours = holders.length === 0 ? '' : `; ${named} ${isOne ? 'runs' : 'run'} there`;
    return `no machine of pool ${pool.name} can hold it now: ${machines(pool)}${ours}`;
  }
  const free = Math.max(0, pool.freeSlots);
  const rest = holders.length === 0 ? '' : `; ${named} ${isOne ? 'holds' : 'hold'} the rest`;
  return `needs ${slots} slot${slots === 1 ? '' : 's'} of pool ${pool.name}, where ${free} of ${pool.slots} are free${rest}`;
}

/** Most machines that a sentence names; a cluster may have hundreds. */
const maxMachines = 4;

function machines({ room }: PoolCapacity): string {
  const sentences = room?.sentences ?? [];
  const more = sentences.length - maxMachines;
  return [...sentences.slice(0, maxMachines), ...(more > 0 ? [`and ${more} more`] : [])].join('; ');
}
