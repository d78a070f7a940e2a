import { createHash } from 'node:crypto';

/** A stream of pseudo-random numbers that depends only on its key, not on draws from other streams. */
export type Random = {
  /** Uniform in [0, 1). */
  next(): number;
  /** Uniform in [low, high). */
  between(low: number, high: number): number;
  /** Uniform over the whole numbers low..high, both included. */
  integer(low: number, high: number): number;
  /** True with probability `share`. */
  chance(share: number): boolean;
  /** Approximately standard normal (sum of four uniforms, scaled), so bounded by about 3.5. */
  normal(): number;
  /** One of `items`, which must not be empty. */
  pick<T>(items: readonly T[]): T;
  /** The items in a random order, as a new array. */
  shuffled<T>(items: readonly T[]): T[];
};

/**
 * The stream for `key` (a seed and a purpose). The generator is sfc32, seeded with SHA-256 of the key, so that the same key gives the same
 * numbers on every machine and different keys are independent.
 */
export function randomOf(...key: readonly (string | number)[]): Random {
  const state = createHash('sha256').update(key.join('\u001f')).digest();
  let a = state.readInt32LE(0);
  let b = state.readInt32LE(4);
  let c = state.readInt32LE(8);
  let counter = state.readInt32LE(12);
  const next = (): number => {
    const sum = (((a + b) | 0) + counter) | 0;
    counter = (counter + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = (c << 21) | (c >>> 11);
    c = (c + sum) | 0;
    return (sum >>> 0) / 4294967296;
  };
  const integer = (low: number, high: number): number => low + Math.floor(next() * (high - low + 1));
  const pick = <T>(items: readonly T[]): T => {
    const item = items[integer(0, items.length - 1)];
    if (item === undefined) throw new RangeError('pick: nothing to pick from');
    return item;
  };
  const shuffled = <T>(items: readonly T[]): T[] => {
    const rest = [...items];
    const order: T[] = [];
    while (rest.length > 0) {
      const at = integer(0, rest.length - 1);
      const last = rest.length - 1;
      const item = rest[at];
      const end = rest[last];
      if (item === undefined || end === undefined) break;
      order.push(item);
      rest[at] = end;
      rest.length = last;
    }
    return order;
  };
  return {
    next,
    integer,
    pick,
    shuffled,
    between: (low, high) => low + next() * (high - low),
    chance: (share) => next() < share,
    normal: () => (next() + next() + next() + next() - 2) * Math.sqrt(3),
  };
}
