import { seededRandom } from '@cairn/testing';
import { expect, test } from 'vitest';
import { createIdTable, sortIds } from './id-table.ts';

test('ids get one number each in the order of their addition, are found again, and sort by their bytes', () => {
  const next = seededRandom(5);
  const letters = ['a', 'b', '0', 'é', '漢', '😀'];
  const drawn = Array.from({ length: 20_000 }, () =>
    Array.from({ length: Math.floor(next() * 6) }, () => letters[Math.floor(next() * letters.length)]).join(''),
  );
  const table = createIdTable();
  const numbers = new Map<string, number>();
  for (const id of drawn) {
    const expected = numbers.get(id) ?? numbers.size;
    numbers.set(id, expected);
    expect(table.add(id)).toBe(expected);
  }
  expect(table.length).toBe(numbers.size);
  for (const [id, number] of numbers) expect([table.at(number), table.find(id)]).toEqual([id, number]);
  expect(table.find('absent')).toBe(-1);
  expect(table.length).toBe(numbers.size);

  const sorted = sortIds(table);
  const byBytes = [...numbers.keys()].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
  expect([...sorted]).toEqual(byBytes);
  for (const [place, id] of byBytes.entries()) expect([sorted.at(place), sorted.placeOf[table.find(id)]]).toEqual([id, place]);
});
