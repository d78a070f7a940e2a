import { describe, expect, test } from 'vitest';
import type { ArchetypeName } from './archetypes.ts';
import { archetypes } from './archetypes.ts';
import { cameraOf, cross, dot, viewOf } from './camera.ts';
import { landmarkOf } from './landmark.ts';
import { lightOf } from './light.ts';
import { pictureOf } from './picture.ts';
import { randomOf } from './random.ts';
import type { Point } from './solids.ts';
import { styleOf } from './style.ts';

const names = Object.keys(archetypes) as ArchetypeName[];

describe.each(names)('a %s', (name) => {
  test('is built of solids whose faces look outwards', () => {
    for (let seed = 0; seed < 20; seed++) {
      for (const { faces } of archetypes[name](randomOf(seed, name), styleOf(randomOf(seed, 'style')))) {
        // A windmill's sail is flat: it has one face and no inside.
        if (faces.length === 1) continue;
        const corners = faces.flatMap((face) => face.corners);
        const mean = (axis: 0 | 1 | 2): number => corners.reduce((sum, corner) => sum + corner[axis], 0) / corners.length;
        const middle: Point = [mean(0), mean(1), mean(2)];
        for (const face of faces) {
          const [a, b, c] = face.corners;
          if (!a || !b || !c) throw new Error('a face has three corners');
          const normal = cross([b[0] - a[0], b[1] - a[1], b[2] - a[2]], [c[0] - b[0], c[1] - b[1], c[2] - b[2]]);
          expect(dot(normal, [a[0] - middle[0], a[1] - middle[1], a[2] - middle[2]])).toBeGreaterThanOrEqual(-1e-9);
        }
      }
    }
  });
});

test('a view of hardness 0 shows the whole landmark from its front', () => {
  for (let seed = 0; seed < 40; seed++) {
    const landmark = landmarkOf(seed, 'any');
    const view = viewOf(randomOf(seed), landmark, 0);
    expect(view.yaw).toBeCloseTo(0);
    const camera = cameraOf(view, landmark);
    for (const corner of landmark.solids.flatMap((solid) => solid.faces).flatMap((face) => face.corners)) {
      const [x, y] = camera.project(corner);
      // What stands nearer than the middle looks larger and may touch the edge.
      expect(x).toBeGreaterThan(-0.25 * view.width);
      expect(x).toBeLessThan(1.25 * view.width);
      expect(y).toBeLessThan(1.35 * view.height);
      expect(y).toBeGreaterThan(-0.3 * view.height);
    }
  }
});

test('twins differ in their drawing, and the same landmark from the same view does not', () => {
  const draw = (twin?: 'roof' | 'annex' | 'openings'): string => {
    const landmark = landmarkOf(1, 'any', twin);
    const random = randomOf(1);
    return pictureOf(landmark, viewOf(random, landmark, 0.5), lightOf(random, 0.5), random, 0.5);
  };
  expect(draw()).toBe(draw());
  expect(new Set([draw(), draw('roof'), draw('annex'), draw('openings')]).size).toBe(4);
});
