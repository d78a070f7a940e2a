import { expect, test } from 'vitest';
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
