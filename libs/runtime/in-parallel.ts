/**
 * Runs `work` for every item, `limit` at a time, and takes the next item only when one may begin. The first failure, of
 * an item or of getting one, ends it after what has begun has ended; `onFailure` may shorten that.
 */
export async function inParallel<T>(
  items: Iterator<T> | AsyncIterator<T>,
  limit: number,
  work: (item: T) => Promise<void>,
  onFailure?: () => void,
): Promise<void> {
  let failure: { error: unknown } | undefined;
  const workers = Array.from({ length: limit }, async () => {
    try {
      while (failure === undefined) {
        const next = await items.next();
        if (next.done || failure !== undefined) return;
        await work(next.value);
      }
    } catch (error) {
      if (failure !== undefined) return;
      failure = { error };
      onFailure?.();
    }
  });
  await Promise.all(workers);
  if (failure !== undefined) throw failure.error;
}
