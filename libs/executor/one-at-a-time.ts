/** Runs one task at a time per key, in the order of the calls; tasks of different keys run in parallel. */
export function oneAtATime() {
  const busy = new Map<string, Promise<unknown>>();
  return {
    /** Only its own caller gets a failure: the next task runs. */
    async run<T>(key: string, work: () => Promise<T>): Promise<T> {
      const before = busy.get(key) ?? Promise.resolve();
      const mine = before.then(work, work);
      busy.set(key, mine);
      try {
        return await mine;
      } finally {
        if (busy.get(key) === mine) busy.delete(key);
      }
    },
    /** Waits for all work in progress, however it ends. */
    async settled(): Promise<void> {
      await Promise.allSettled(busy.values());
    },
  };
}
