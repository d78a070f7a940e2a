/** CPython's Objects/setobject.c, unchanged since 3.7: the table grows fourfold from 8 slots, at three fifths load. */
const leastPlaces = 8;
const linearProbes = 9;
const perturbShift = 5;
const growsTwofoldAbove = 50_000;

/**
 * The order of CPython's `list(set(values))` for whole numbers from 0 to 2^31 - 1, which are their own hashes. The reference writes the
 * rows of a query with several labels in this order.
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

/** The slot of a value, or the first free slot for it: linear probes, each starting at a slot from the next bits of the hash. */
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
