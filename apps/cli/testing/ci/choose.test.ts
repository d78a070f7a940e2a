import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { choose, secondsOf, turns } from './choose.ts';

const item = (name: string, touchedBy: string[], seconds = 1) => ({ name, touchedBy, seconds });
const names = (items: readonly { name: string }[]) => items.map(({ name }) => name);

describe('what CI runs', () => {
  test('is all that a change touches: a file, or what lies below a folder, and no folder whose name only begins alike', () => {
    const items = [item('executor', ['libs/executor']), item('chart', ['k8s', 'docker/build/images.mjs'])];
    const touchedBy = (...paths: string[]) => names(choose(items, paths, 0).touched);
    expect(touchedBy('libs/executor/docker/life.ts')).toEqual(['executor']);
    expect(touchedBy('docker/build/images.mjs', 'libs/executor')).toEqual(['executor', 'chart']);
    expect(touchedBy('libs/executors/a.ts', 'docker/build/images.mjs.bak')).toEqual([]);
  });

  test('is everything where nobody can tell what changed', () => {
    expect(choose([item('a', ['x']), item('b', ['y'])], null, 5)).toMatchObject({ touched: [{ name: 'a' }, { name: 'b' }], left: [] });
  });

  test('is a third of the rest, and with three seeds in a row all of it once', () => {
    const anyItems = fc.uniqueArray(
      fc.record({ name: fc.string(), touchedBy: fc.constant(['x']), seconds: fc.integer({ min: 1, max: 500 }) }),
      {
        selector: ({ name }) => name,
      },
    );
    fc.assert(
      fc.property(anyItems, fc.nat({ max: 1000 }), (items, cycle) => {
        const drawn = Array.from({ length: turns }, (_, turn) => choose(items, [], cycle * turns + turn));
        expect(names(drawn.flatMap((one) => one.drawn)).sort()).toEqual(names(items).sort());
        for (const one of drawn) expect(names([...one.drawn, ...one.left]).sort()).toEqual(names(items).sort());
        // No third takes longer than another by more than its longest file.
        const times = drawn.map((one) => secondsOf(one.drawn));
        expect(Math.max(...times) - Math.min(...times)).toBeLessThanOrEqual(Math.max(0, ...items.map(({ seconds }) => seconds)));
      }),
    );
  });

  test('goes by the seed alone, and later seeds cut other thirds', () => {
    const items = Array.from({ length: 9 }, (_, index) => item(`file ${index}`, ['x']));
    const drawnBy = (seed: number) => names(choose(items, [], seed).drawn).join();
    expect(drawnBy(4)).toBe(drawnBy(4));
    expect(new Set([0, 3, 6, 9, 12].map(drawnBy)).size).toBeGreaterThan(1);
  });
});
