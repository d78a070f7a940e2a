/**
 * A signal that is aborted when `signal` is, or after `ms` milliseconds (then with a `TimeoutError`): the limit that
 * every wait on a server, a child process or a lock gets.
 */
export function deadline(signal: AbortSignal | undefined, ms: number): AbortSignal {
  const timeout = AbortSignal.timeout(ms);
  return signal === undefined ? timeout : AbortSignal.any([signal, timeout]);
}
