import { expect, test } from 'vitest';
import { checkCron, newestDue, nextTimes } from './index.ts';

const times = (cron: string, zone: string, after: string, count = 3) =>
  nextTimes({ cron, zone }, new Date(after), count).map((time) => time.toISOString().slice(0, 16));

test.each([
  // The clock jumps from 2:00 to 3:00 on 2027-03-28, and goes back from 3:00 to 2:00 on 2027-10-31.
  [
    'a time that does not exist runs once, when the clock has jumped',
    '30 2 * * *',
    'Europe/Zurich',
    '2027-03-27T12:00Z',
    ['03-28T01:00', '03-29T00:30'],
  ],
  ['a time that occurs twice runs once', '30 2 * * *', 'Europe/Zurich', '2027-10-30T12:00Z', ['10-31T00:30', '11-01T01:30']],
  [
    'a time that occurs twice runs once, seen from between',
    '30 2 * * *',
    'Europe/Zurich',
    '2027-10-31T00:45Z',
    ['11-01T01:30', '11-02T01:30'],
  ],
  ['the same in New York', '30 1 * * *', 'America/New_York', '2027-11-06T12:00Z', ['11-07T05:30', '11-08T06:30']],
  ['every hour stays every hour', '30 * * * *', 'Europe/Zurich', '2027-10-30T23:45Z', ['10-31T00:30', '10-31T01:30', '10-31T02:30']],
  ['Mondays at 3:00 are at another time in UTC', '0 3 * * 1', 'Europe/Zurich', '2027-03-21T00:00Z', ['03-22T02:00', '03-29T01:00']],
])('%s', (_, cron, zone, after, expected) => {
  expect(times(cron, zone, after, expected.length)).toEqual(expected.map((time) => `2027-${time}`));
});

test('of the times that were missed the newest is due, across a change of the clock as well', () => {
  const daily = { cron: '30 2 * * *', zone: 'Europe/Zurich' };
  const due = new Date('2027-03-20T01:30Z');
  expect(newestDue(daily, due, due)).toEqual(due);
  expect(newestDue(daily, due, new Date('2027-03-20T23:00Z'))).toEqual(due);
  expect(newestDue(daily, due, new Date('2027-03-28T00:59Z'))).toEqual(new Date('2027-03-27T01:30Z'));
  expect(newestDue(daily, due, new Date('2027-03-28T01:00Z'))).toEqual(new Date('2027-03-28T01:00Z'));
  expect(newestDue({ cron: '* * * * *', zone: 'UTC' }, due, new Date('2028-01-01T00:00:59Z'))).toEqual(new Date('2028-01-01T00:00Z'));
});

test.each([
  ['61 * * * *', 'UTC', /cannot be read: Invalid value for minute: 61/],
  ['0 3 * *', 'UTC', /five fields/],
  ['* * * * * *', 'UTC', /five fields/],
  ['@daily', 'UTC', /five fields/],
  ['0 0 30 2 *', 'UTC', /no time/],
  ['0 3 * * *', 'Mars/Olympus', /not a time zone/],
])('%s in %s is refused', (cron, zone, message) => {
  expect(() => checkCron({ cron, zone }, new Date())).toThrow(message);
});
