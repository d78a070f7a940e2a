/** CPython's Objects/setobject.c, unchanged from 3.7 on: the table grows fourfold from 8 places, at three fifths full. */
const leastPlaces = 8;
const linearProbes = 9;
const perturbShift = 5;
const growsTwofoldAbove = 50_000;

/**
 * The order in which CPython's `list(set(values))` gives whole numbers from 0 to 2^31 - 1, which are their own hashes. The reference
 * gives a query with several labels one row for each in this very order.
 */
export function pythonSetOrder(values: readonly number[]): number[] {
  let table: (number | undefined)[] = Array.from({ length: leastPlaces });
  let used = 0;
  for (const value of values) {
    const place = placeOf(table, value);
    if (table[place] === value) continue;
    table[place] = value;
    used += 1;
    if (used * 5 < (table.length - 1) * 3) continue;
    const grown = placesOver(used > growsTwofoldAbove ? used * 2 : used * 4);
    const before = table;
    table = Array.from({ length: grown });
    for (const moved of before) if (moved !== undefined) table[placeOf(table, moved)] = moved;
  }
  return table.filter((value) => value !== undefined);
}

function placesOver(used: number): number {
  let places = leastPlaces;
  while (places <= used) places *= 2;
  return places;
}

/** Where a value stands, or the first free place for it: runs of neighbours, each begun where the hash's next bits say. */
function placeOf(table: readonly (number | undefined)[], value: number): number {
  const mask = table.length - 1;
  let perturb = value;
  let start = value & mask;
  for (;;) {
    const run = start + linearProbes <= mask ? linearProbes : 0;
    for (let place = start; place <= start + run; place += 1) {
      if (table[place] === undefined || table[place] === value) return place;
    }
    perturb >>>= perturbShift;
    start = (start * 5 + 1 + perturb) & mask;
  }
}
