/** Does one thing at a time for one key, in the order asked; what is asked for different keys goes on side by side. */
export function oneAtATime() {
  const busy = new Map<string, Promise<unknown>>();
  return {
    /** A failure is its caller's alone: the next goes on. */
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
    /** Waits for all that is under way, however it ends. */
    async settled(): Promise<void> {
      await Promise.allSettled(busy.values());
    },
  };
}
