import { expect, test } from 'vitest';
import { formatAgo, formatBytes, formatCount, formatDuration, formatNumber, formatPercent, plural, secondsBetween } from './units.ts';

test('durations have at most two units and the same format at every size', () => {
  const shown = [0, 0.84, 9.94, 9.96, 48.4, 59.6, 185, 3599.6, 8040, 90_000, 400_000].map(formatDuration);
  expect(shown).toEqual([
    '0.0 s',
    '0.8 s',
    '9.9 s',
    '10 s',
    '48 s',
    '1 min 00 s',
    '3 min 05 s',
    '1 h 00 min',
    '2 h 14 min',
    '1 d 1 h',
    '4 d 15 h',
  ]);
  expect(formatDuration(-1)).toBe('0.0 s');
  expect(formatDuration(Number.POSITIVE_INFINITY)).toBe('?');
});

test('times are shown as how long ago they were', () => {
  const now = new Date('2026-01-02T00:00:00Z');
  const before = (seconds: number): string => formatAgo(new Date(now.getTime() - seconds * 1000), now);
  expect([0, 30, 200, 8000, 200_000].map(before)).toEqual(['just now', '30 s ago', '3 min ago', '2 h ago', '2 d ago']);
  // A server whose clock is a little ahead.
  expect(before(-3)).toBe('just now');
});

test('bytes, counts, shares and measures have their units', () => {
  expect([0, 812, 999, 1000, 12_345_678, 999_960, 5.4e12].map(formatBytes)).toEqual([
    '0 B',
    '812 B',
    '999 B',
    '1.0 kB',
    '12.3 MB',
    '1.0 MB',
    '5.4 TB',
  ]);
  expect(formatCount(4_925_110)).toBe('4,925,110');
  expect(formatPercent(0.7561)).toBe('75.6 %');
  expect([6.912, 68.31, 120.4, 1204].map(formatNumber)).toEqual(['6.91', '68.3', '120', '1,204']);
  expect([plural(1, 'step'), plural(2, 'step'), plural(0, 'match', 'matches')]).toEqual(['1 step', '2 steps', '0 matches']);
});

test('a time that has not ended counts up to now', () => {
  const now = new Date('2026-01-02T00:00:30Z');
  expect(secondsBetween('2026-01-02T00:00:00Z', null, now)).toBe(30);
  expect(secondsBetween('2026-01-02T00:00:00Z', '2026-01-02T00:00:10Z', now)).toBe(10);
});
