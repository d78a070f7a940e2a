import type { Gate } from './gate.ts';

/** Reads by a key that says what is read. */
export type SharedReads = <T>(key: string, read: () => Promise<T>) => Promise<T>;

/**
 * Reads of many callers through one gate: whoever asks for what waits for its turn already gets that answer. A read that has
 * begun is not shared, so nobody is given what was true before he asked; the more callers there are, the more is shared.
 */
export function createSharedReads(gate: Gate): SharedReads {
  const waiting = new Map<string, Promise<unknown>>();
  return <T>(key: string, read: () => Promise<T>): Promise<T> => {
    const shared = waiting.get(key);
    // The key names the read, and with it what it answers.
    if (shared !== undefined) return shared as Promise<T>;
    const answer = (async () => {
      let leave: () => void;
      try {
        leave = await gate.enter();
      } finally {
        waiting.delete(key);
      }
      try {
        return await read();
      } finally {
        leave();
      }
    })();
    waiting.set(key, answer);
    return answer;
  };
}
