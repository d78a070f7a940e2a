export type TimeLimit = {
  ms: number;
  signal: AbortSignal | undefined;
  /** What the promise is rejected with when the time is up. */
  error: () => Error;
};

/**
 * The result of `work`, unless `signal` is aborted (its reason) or `ms` pass (`error()`) first. The work itself gets a
 * signal that is then aborted, and goes on if it does not listen; what becomes of it is ignored.
 *
 * ONNX Runtime blocks the event loop for as long as a batch takes. A timer that came due meanwhile fires before the
 * results that came in meanwhile are seen, so the limit only counts after the loop has looked for results once more.
 */
export async function withinTime<T>(work: (signal: AbortSignal) => Promise<T>, { ms, signal, error }: TimeLimit): Promise<T> {
  signal?.throwIfAborted();
  const controller = new AbortController();
  let timer: NodeJS.Timeout | undefined;
  let stop = () => {};
  const limit = new Promise<never>((_, reject) => {
    stop = () => reject(signal?.reason);
    signal?.addEventListener('abort', stop, { once: true });
    // setImmediate comes after the loop's poll phase, in which results of threads and sockets are delivered.
    timer = setTimeout(() => setImmediate(() => reject(error())), ms);
  });
  try {
    return await Promise.race([work(controller.signal), limit]);
  } catch (cause) {
    controller.abort(cause);
    throw cause;
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener('abort', stop);
  }
}
