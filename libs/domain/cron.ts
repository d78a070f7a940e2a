import { CairnError, isZone } from '@cairn/contract';
import { Cron } from 'croner';

// Croner's rules for daylight saving time: a time that does not exist runs once, when the clock has jumped over it; one that occurs twice
// runs once, the first time. Expressions of every hour or minute are not affected. (docs/adr/049)

/** A cron expression of five fields in a time zone. */
export type CronTimes = { cron: string; zone: string };

/**
 * The times after `after`, at most `count`.
 *
 * @throws CairnError `invalid_request` for an expression or a time zone that cannot be read
 */
export function nextTimes(times: CronTimes, after: Date, count: number): Date[] {
  return open(times).nextRuns(count, after);
}

/**
 * The newest time that is due at `now`, when one was due at `due`: of those that were missed, only this one is made up for.
 */
export function newestDue(times: CronTimes, due: Date, now: Date): Date {
  // Exclusive of its reference, and exact to the second.
  const [newest] = open(times).previousRuns(1, new Date(now.getTime() + 1000));
  return newest !== undefined && newest > due && newest <= now ? newest : due;
}

/** @throws CairnError `invalid_request` as {@link nextTimes} does, and for an expression that names no time */
export function checkCron(times: CronTimes, now: Date): void {
  if (nextTimes(times, now, 1).length > 0) return;
  throw invalid(times.cron, 'it names no time, such as February 30');
}

function open({ cron, zone }: CronTimes): Cron {
  if (!isZone(zone)) {
    throw new CairnError('invalid_request', `"${zone}" is not a time zone`, {
      details: { remedy: 'Use a name of the IANA database, such as Europe/Zurich or UTC.' },
    });
  }
  if (!/^\s*[^@\s]\S*(\s+\S+){4}\s*$/.test(cron)) throw invalid(cron, 'it does not have five fields');
  try {
    return new Cron(cron, { timezone: zone, paused: true, mode: '5-part' });
  } catch (cause) {
    throw invalid(cron, (cause instanceof Error ? cause.message : String(cause)).replace(/^CronPattern: /, ''), cause);
  }
}

function invalid(cron: string, why: string, cause?: unknown): CairnError {
  return new CairnError('invalid_request', `The cron expression "${cron}" cannot be read: ${why}`, {
    cause,
    details: { remedy: 'Write minute, hour, day of the month, month and day of the week, such as "0 3 * * 1" for Mondays at 3:00.' },
  });
}
