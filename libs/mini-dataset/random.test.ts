import { describe, expect, test } from 'vitest';
import { randomOf } from './random.ts';

const drawn = (random: ReturnType<typeof randomOf>, count: number): number[] => Array.from({ length: count }, () => random.next());

describe('a stream of random numbers', () => {
  test('depends on its key alone', () => {
    expect(drawn(randomOf(1, 'a'), 5)).toEqual(drawn(randomOf(1, 'a'), 5));
    expect(drawn(randomOf(1, 'a'), 5)).not.toEqual(drawn(randomOf(2, 'a'), 5));
    expect(drawn(randomOf(1, 'a', 'b'), 5)).not.toEqual(drawn(randomOf(1, 'ab'), 5));
  });

  test('is uniform, and whole numbers reach both ends', () => {
    const random = randomOf('uniform');
    const numbers = drawn(random, 20_000);
    expect(numbers.reduce((sum, number) => sum + number, 0) / numbers.length).toBeCloseTo(0.5, 1);
    expect(numbers.every((number) => number >= 0 && number < 1)).toBe(true);
    const dice = Array.from({ length: 1000 }, () => random.integer(1, 6));
    expect([...new Set(dice)].toSorted()).toEqual([1, 2, 3, 4, 5, 6]);
    const normal = Array.from({ length: 20_000 }, () => random.normal());
    expect(normal.reduce((sum, number) => sum + number * number, 0) / normal.length).toBeCloseTo(1, 1);
  });

  test('shuffles without losing anything', () => {
    const items = Array.from({ length: 100 }, (_, i) => i);
    const shuffled = randomOf('shuffle').shuffled(items);
    expect(shuffled).not.toEqual(items);
    expect(shuffled.toSorted((a, b) => a - b)).toEqual(items);
    expect(() => randomOf('none').pick([])).toThrow('nothing to pick from');
  });
});
