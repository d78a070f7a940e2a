import { describe, expect, test } from 'vitest';
import { cameraOf, dot, minus, viewOf } from './camera.ts';
import { landmarkOf, type Point, type Solid, twinDifferences } from './landmark.ts';
import { facesOf, normalOf, pictureOf } from './picture.ts';
import { randomOf } from './random.ts';

const seeds = Array.from({ length: 40 }, (_, seed) => seed);
const corners = (solid: Solid): readonly Point[] => facesOf(solid).flatMap((face) => face.corners);

test('the sides of every solid look away from its axis, so that a camera sees the near ones', () => {
  for (const solid of seeds.flatMap((seed) => landmarkOf(seed, 'any').solids)) {
    for (const face of facesOf(solid)) {
      const normal = normalOf(face);
      const first = face.corners[0];
      if (!normal || !first) continue;
      const [x, y, z] = minus(first, solid.at);
      if (face.side < 0 || Math.abs(normal[1]) > 0.99) expect(normal[1]).toBeGreaterThan(0.99);
      else expect(dot(normal, [x, y * Math.sign(normal[1]), z])).toBeGreaterThanOrEqual(-1e-9);
    }
  }
});

test('a view of hardness 0 shows the whole landmark from its front', () => {
  for (const seed of seeds) {
    const landmark = landmarkOf(seed, 'any');
    const view = viewOf(randomOf(seed), landmark, 0);
    expect(view.yaw).toBeCloseTo(0);
    const camera = cameraOf(view, landmark);
    for (const corner of landmark.solids.flatMap(corners)) {
      const [x, y] = camera.project(corner);
      // What stands nearer than the middle looks larger and may touch the edge.
      expect(x / view.width).toBeGreaterThan(-0.25);
      expect(x / view.width).toBeLessThan(1.25);
      expect(y / view.height).toBeGreaterThan(-0.35);
      expect(y / view.height).toBeLessThan(1.35);
    }
  }
});

test('twins differ in their drawing, and the same landmark from the same view does not', () => {
  const draw = (...twin: Parameters<typeof landmarkOf>[2][]): string => pictureOf(landmarkOf(1, 'any', ...twin), randomOf(1), 0.5);
  expect(draw()).toBe(draw(null));
  expect(new Set([draw(), ...twinDifferences.map((twin) => draw(twin))]).size).toBe(4);
});

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
