import type { Stop } from './stop.ts';

/** Longer timers would end at once. */
const longestTimerMs = 2 ** 31 - 1;

/** Asks the attempt to stop when this process has lived for so long; never without a number. Gives the function that calls it off. */
export function heedDeadline(stop: Pick<Stop, 'ask'>, seconds: number | undefined, graceSeconds: number): () => void {
  if (seconds === undefined) return () => undefined;
  let timer: NodeJS.Timeout | undefined;
  const look = () => {
    const leftMs = seconds * 1000 - performance.now();
    if (leftMs <= 0) stop.ask({ cause: 'deadline', reason: 'it ran as long as its pool allows', graceSeconds });
    else timer = setTimeout(look, Math.min(leftMs, longestTimerMs));
  };
  look();
  return () => clearTimeout(timer);
}
