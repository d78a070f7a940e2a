import type { StepKind, WaitingReason } from '@cairn/contract';

/** A step that wants attempts: one that is ready, or an extraction whose fleet may grow. */
export type WaitingStep = {
  stepId: string;
  runId: string;
  runName: string;
  name: string;
  kind: StepKind;
  owner: string;
  priority: number;
  /** Milliseconds since the epoch at which it became ready. */
  readyAt: number;
  /** Not before this time, in milliseconds since the epoch. */
  notBefore: number | null;
  /** `tasks` or `gpu`. */
  pool: 'tasks' | 'gpu';
  slots: number;
  /** Attempts that it has now. */
  live: number;
  /** Attempts that it could use: 1, or for a fleet at most one for each shard that is left. */
  wanted: number;
};

/** An attempt that holds slots. */
export type RunningAttempt = {
  attemptId: string;
  stepId: string;
  /** Its step and run, for sentences: `extract_index of mini-3`. */
  label: string;
  pool: string;
  slots: number;
  owner: string;
  isFleet: boolean;
  stopping: boolean;
  startedAt: number;
};

export type PoolCapacity = { name: string; slots: number };

export type Admission = {
  launch: { stepId: string; pool: string; attempts: number }[];
  /** Fleet attempts that give way to a waiting training step, the youngest first. */
  shrink: { attemptId: string; for: string }[];
  /** Why each step that got nothing waits. */
  reasons: Map<string, Omit<WaitingReason, 'since'>>;
};

/**
 * The one function that decides what starts: priority, then the owner with the fewest busy slots, then age. A step that does
 * not fit becomes its pool's head: behind it only what could run beside it starts (backfill never delays the head). A
 * training step that waits for slots that extraction fleets hold makes them shrink. Pure; run by the leader on every change
 * and by the api to explain.
 *
 * @param pools the pools for `gpu` steps in order of preference, and one named `tasks`
 */
export function admit(
  waiting: readonly WaitingStep[],
  running: readonly RunningAttempt[],
  pools: readonly PoolCapacity[],
  now: number,
): Admission {
  const free = new Map(pools.map((pool) => [pool.name, pool.slots]));
  const ownerBusy = new Map<string, number>();
  for (const attempt of running) {
    free.set(attempt.pool, (free.get(attempt.pool) ?? 0) - attempt.slots);
    ownerBusy.set(attempt.owner, (ownerBusy.get(attempt.owner) ?? 0) + attempt.slots);
  }
  const result: Admission = { launch: [], shrink: [], reasons: new Map() };
  const heads = new Map<string, { step: WaitingStep; beside: number }>();

  const place = (step: WaitingStep): boolean => {
    const candidates =
      step.pool === 'tasks' ? pools.filter((pool) => pool.name === 'tasks') : pools.filter((pool) => pool.name !== 'tasks');
    const fitting = candidates.filter((pool) => pool.slots >= step.slots);
    if (fitting.length === 0) {
      const largest = Math.max(0, ...candidates.map((pool) => pool.slots));
      const sentence =
        candidates.length === 0
          ? 'no pool is configured for it'
          : `it needs ${step.slots} slots at once, and the largest pool has ${largest}`;
      result.reasons.set(step.stepId, { code: 'capacity', sentence });
      return false;
    }
    for (const pool of fitting) {
      const head = heads.get(pool.name);
      const available = free.get(pool.name) ?? 0;
      if (available < step.slots) continue;
      if (head && head.beside < step.slots) continue;
      free.set(pool.name, available - step.slots);
      if (head) head.beside -= step.slots;
      ownerBusy.set(step.owner, (ownerBusy.get(step.owner) ?? 0) + step.slots);
      const launched = result.launch.find((item) => item.stepId === step.stepId && item.pool === pool.name);
      if (launched) launched.attempts += 1;
      else result.launch.push({ stepId: step.stepId, pool: pool.name, attempts: 1 });
      return true;
    }
    explain(step, fitting);
    return false;
  };

  const explain = (step: WaitingStep, fitting: readonly PoolCapacity[]): void => {
    const pool = fitting[0];
    if (!pool) return;
    const head = heads.get(pool.name);
    const available = Math.max(0, free.get(pool.name) ?? 0);
    if (head) {
      const ahead = `${head.step.name} of ${head.step.runName}`;
      result.reasons.set(step.stepId, {
        code: 'behind',
        sentence: `it waits behind ${ahead}, which needs ${head.step.slots} of the ${pool.slots} slots of pool ${pool.name}`,
      });
      return;
    }
    if (step.live === 0) heads.set(pool.name, { step, beside: pool.slots - step.slots });
    const holders = holdersOf(pool.name, running);
    result.reasons.set(step.stepId, {
      code: 'capacity',
      sentence: `it needs ${step.slots} slot${step.slots === 1 ? '' : 's'} of pool ${pool.name}, where ${available} of ${pool.slots} are free${holders}`,
    });
    if (step.kind === 'train') shrinkFor(step, pool.name, step.slots - available);
  };

  const shrinkFor = (step: WaitingStep, pool: string, missing: number): void => {
    const inPool = running.filter((attempt) => attempt.pool === pool && attempt.isFleet);
    let freed = inPool.filter((attempt) => attempt.stopping).reduce((sum, attempt) => sum + attempt.slots, 0);
    const candidates = inPool.filter((attempt) => !attempt.stopping).sort((a, b) => b.startedAt - a.startedAt);
    if (freed + candidates.reduce((sum, attempt) => sum + attempt.slots, 0) < missing) return;
    for (const attempt of candidates) {
      if (freed >= missing) return;
      result.shrink.push({ attemptId: attempt.attemptId, for: `${step.name} of ${step.runName}` });
      freed += attempt.slots;
    }
  };

  const due = waiting.filter((step) => {
    if (step.notBefore === null || step.notBefore <= now) return true;
    const seconds = Math.ceil((step.notBefore - now) / 1000);
    result.reasons.set(step.stepId, { code: 'backoff', sentence: `it is tried again in ${seconds} s after a failed attempt` });
    return false;
  });
  // Steps that have nothing come first; what fleets could use beyond their first attempt comes after everybody's need.
  const order = (a: WaitingStep, b: WaitingStep): number =>
    b.priority - a.priority ||
    Number(a.kind === 'extract') - Number(b.kind === 'extract') ||
    (ownerBusy.get(a.owner) ?? 0) - (ownerBusy.get(b.owner) ?? 0) ||
    a.readyAt - b.readyAt ||
    (a.stepId < b.stepId ? -1 : 1);
  for (const step of due.filter((item) => item.live === 0).sort(order)) place(step);
  for (const step of due.filter((item) => item.kind === 'extract').sort(order)) {
    const got = result.launch.filter((item) => item.stepId === step.stepId).reduce((sum, item) => sum + item.attempts, 0);
    if (step.live === 0 && got === 0) continue;
    for (let more = step.wanted - step.live - got; more > 0; more -= 1) if (!place({ ...step, live: 1 })) break;
    // A fleet that has an attempt does not wait.
    result.reasons.delete(step.stepId);
  }
  return result;
}

function holdersOf(pool: string, running: readonly RunningAttempt[]): string {
  const holders = [...new Set(running.filter((attempt) => attempt.pool === pool).map((attempt) => attempt.label))];
  if (holders.length === 0) return '';
  return `; ${holders.slice(0, 2).join(' and ')}${holders.length > 2 ? ` and ${holders.length - 2} more` : ''} hold${holders.length === 1 ? 's' : ''} the rest`;
}
