import type { Stop } from './stop.ts';

/** Longer timers would fire at once. */
const maxTimerMs = 2 ** 31 - 1;

/** Asks the attempt to stop when this process has run for `seconds`; never if undefined. Returns the function that cancels it. */
export function enforceDeadline(stop: Pick<Stop, 'ask'>, seconds: number | undefined, graceSeconds: number): () => void {
  if (seconds === undefined) return () => undefined;
  let timer: NodeJS.Timeout | undefined;
  const check = () => {
    const leftMs = seconds * 1000 - performance.now();
    if (leftMs <= 0) stop.ask({ cause: 'deadline', reason: 'it reached the time limit of its pool', graceSeconds });
    else timer = setTimeout(check, Math.min(leftMs, maxTimerMs));
  };
  check();
  return () => clearTimeout(timer);
}
