export type TimeLimit = {
  ms: number;
  signal: AbortSignal | undefined;
  /** The error when the time is up. */
  error: () => Error;
};

/**
 * The result of `work`, unless `signal` is aborted (its reason) or `ms` pass (`error()`) first. The work gets a signal that is then
 * aborted; if it ignores the signal it continues, and its result is ignored.
 *
 * ONNX Runtime blocks the event loop for as long as a batch takes. A timer that expires meanwhile fires before the results that arrived
 * meanwhile are processed, so the limit applies only after the loop has polled for results once more.
 */
export async function withinTime<T>(work: (signal: AbortSignal) => Promise<T>, { ms, signal, error }: TimeLimit): Promise<T> {
  signal?.throwIfAborted();
  const controller = new AbortController();
  let timer: NodeJS.Timeout | undefined;
  let stop = () => {};
  const limit = new Promise<never>((_, reject) => {
    stop = () => reject(signal?.reason);
    signal?.addEventListener('abort', stop, { once: true });
    // setImmediate runs after the loop's poll phase, in which results of threads and sockets are delivered.
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
