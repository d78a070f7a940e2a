import { expect, test } from 'vitest';
import { drawnNeeds, placeSteps } from './graph-layout.ts';

const steps = [
  { name: 'prepare', needs: [] },
  { name: 'first', needs: ['prepare'] },
  { name: 'second', needs: ['prepare', 'first'] },
  { name: 'search', needs: ['second', 'prepare'] },
];

test('what follows from other needs is not drawn, so that a chain is a line', () => {
  expect(Object.fromEntries(drawnNeeds(steps))).toEqual({ prepare: [], first: ['prepare'], second: ['first'], search: ['second'] });
  const places = placeSteps(steps);
  expect(new Set(places.map(({ x }) => x)).size).toBe(1);
  expect(places.map(({ name }) => name)).toEqual(places.toSorted((a, b) => a.y - b.y).map(({ name }) => name));
});
