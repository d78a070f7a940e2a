import { seededRandom } from '@cairn/testing';
import { expect, test } from 'vitest';
import { idsOf, orderIds } from '../features/id-table.ts';
import { ascending, gatherPlaces, placeFeatures, readRows } from './placed-features.ts';

/** A source of `rows` vectors of two values that tell their row; `reads` keeps how many rows each read was asked for. */
function telling(rows: number) {
  const reads: number[] = [];
  return {
    reads,
    rows,
    dim: 2,
    async read(first: number, count: number) {
      reads.push(count);
      const angles = Array.from({ length: Math.min(count, rows - first) }, (_, at) => (first + at) / rows);
      return new Float32Array(angles.flatMap((angle) => [Math.cos(angle), Math.sin(angle)]));
    },
  };
}

const rowOf = (values: ArrayLike<number>, at: number, rows: number): number =>
  Math.round(Math.atan2(values[at * 2 + 1] ?? 0, values[at * 2] ?? 0) * rows);

test('rows come in the order asked for; near ones are read together, but never many at once', async () => {
  const source = telling(20_000);
  const next = seededRandom(1);
  const wanted = [...ascending(Array.from({ length: 3000 }, () => Math.floor(next() * 20_000)))]
    .map((row) => ({ row, key: next() }))
    .sort((a, b) => a.key - b.key)
    .map(({ row }) => row);
  const values = await readRows(source, wanted);
  expect(Array.from(wanted, (_, at) => rowOf(values, at, 20_000))).toEqual(wanted);
  expect(source.reads.length).toBeLessThan(wanted.length / 2);
  expect(Math.max(...source.reads)).toBeLessThanOrEqual(4096);

  const whole = telling(10_000);
  await readRows(
    whole,
    Int32Array.from({ length: 10_000 }, (_, row) => row),
  );
  expect(whole.reads).toEqual([4096, 4096, 1808]);
});

test('vectors are found by their place, whatever their row', async () => {
  const source = telling(10);
  const ids = idsOf(Array.from({ length: 10 }, (_, row) => `i${9 - row}`));
  const order = orderIds(ids.table, ids.numbers.slice(2).toReversed());
  const placed = placeFeatures({ ...source, dir: 'set', ids, parts: [] }, order, 'The set');
  expect(placed.places).toEqual(Int32Array.of(-1, -1, 7, 6, 5, 4, 3, 2, 1, 0));
  const gathered = await gatherPlaces(placed, [7, 0, 7]);
  expect([rowOf(gathered.vectorOf(7), 0, 10), rowOf(gathered.vectorOf(0), 0, 10)]).toEqual([2, 9]);
  expect(() => gathered.vectorOf(1)).toThrow('The set: the place 1 was not gathered');
});
