import { expect, test } from 'vitest';
import { originText, runOrigin, timeInZone } from './origin.ts';

test('a run of a schedule says when it was due on the clock of the schedule, in UTC where that was not recorded', () => {
  const origin = { kind: 'schedule', schedule: 'weekly', dueAt: '2027-01-04T02:00:00.000Z' };
  const textOf = (given: object): string => originText(runOrigin.parse(given));
  expect(textOf({ ...origin, zone: 'Asia/Kolkata' })).toBe('the schedule weekly, due Mon 2027-01-04 07:30 Asia/Kolkata');
  expect(textOf(origin)).toBe('the schedule weekly, due Mon 2027-01-04 02:00 UTC');
  expect(timeInZone(origin.dueAt, 'Mars/Olympus')).toBe('Mon 2027-01-04 02:00 UTC');
});
