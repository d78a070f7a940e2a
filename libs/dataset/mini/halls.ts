import type { Archetype } from './archetype.ts';
import { doorway, ground, roseWindow } from './archetype.ts';
import type { Decal, Point, Solid } from './solids.ts';
import { box, circle, decal, dome, gable, loft, openings, rectangle, spire, stripes } from './solids.ts';
import { facade, shade } from './style.ts';

export const church: Archetype = (random, style) => {
  const width = random.between(0.8, 1.3);
  const nave = random.between(0.8, 1.2);
  const depth = random.between(1.2, 1.8);
  const roof = random.between(0.35, 0.75);
  const rows = random.integer(1, 2);
  const front = [
    ...doorway(style, random.between(0.16, 0.26), random.between(0.32, 0.45)),
    ...roseWindow(style, random.between(0.2, 0.32), 0.58),
  ];
  const solids: Solid[] = [
    box(
      ground,
      { width, height: nave, depth },
      { color: style.wall, sides: facade(style, { columns: random.integer(3, 6), rows }), front },
    ),
    gable([0, nave, 0], { width: width * 1.06, height: roof, depth: depth * 1.02, across: false }, { color: style.roof, wall: style.wall }),
  ];
  const towers = random.integer(0, 2);
  const towerWidth = random.between(0.36, 0.5);
  const towerHeight = nave * random.between(1.35, 1.95);
  const cap = random.between(0.4, 1.1);
  const round = random.chance(0.3);
  const places =
    towers === 2
      ? [-width / 2 - towerWidth * 0.3, width / 2 + towerWidth * 0.3]
      : towers === 1
        ? [random.pick([0, -width / 2, width / 2])]
        : [];
  for (const x of places) {
    const z = x === 0 ? depth / 2 + towerWidth * 0.3 : depth / 2 - towerWidth * 0.3;
    const paint = {
      color: style.wall,
      sides: facade(style, { columns: 1, rows: random.integer(2, 3), from: 0.3 }),
      front: [...(x === 0 ? doorway(style, 0.4, 0.2) : []), ...facade(style, { columns: 1, rows: 3, from: 0.3, fill: 0.45 })],
    };
    solids.push(box([x, 0, z], { width: towerWidth, height: towerHeight, depth: towerWidth }, paint));
    const top: Point = [x, towerHeight, z];
    solids.push(
      round
        ? dome(top, towerWidth * 0.55, cap * 0.6, 1.15, { color: style.roof })
        : spire(top, rectangle(towerWidth * 1.1, towerWidth * 1.1), cap, { color: style.roof }),
    );
  }
  if (towers === 0) {
    solids.push(box([0, nave + roof * 0.7, 0], { width: 0.26, height: 0.5, depth: 0.26 }, { color: style.trim }));
    solids.push(spire([0, nave + roof * 0.7 + 0.5, 0], rectangle(0.34, 0.34), cap, { color: style.roof }));
  }
  return solids;
};

export const castle: Archetype = (random, style) => {
  const width = random.between(1.6, 2.3);
  const wall = random.between(0.55, 0.9);
  const teeth = random.integer(7, 13);
  const merlons: Decal[] = Array.from({ length: teeth }, (_, i) =>
    decal('square', { u: (i + 0.25) / teeth, v: 0.9, width: 0.5 / teeth, height: 0.1 }, shade(style.wall, 0.55)),
  );
  const gate = doorway(style, random.between(0.12, 0.18), random.between(0.45, 0.62));
  const sides = [...facade({ ...style, opening: 'slit' }, { columns: random.integer(3, 6), rows: 1, from: 0.35, to: 0.85 }), ...merlons];
  const solids: Solid[] = [box(ground, { width, height: wall, depth: 1.2 }, { color: style.wall, sides, front: [...sides, ...gate] })];
  const round = random.chance(0.6);
  const radius = random.between(0.2, 0.32);
  const coned = random.chance(0.65);
  const keep = random.between(1.1, 1.7);
  const count = random.integer(2, 4);
  const places: [number, number, number][] = [
    [-width / 2, 0.6, wall * random.between(1.25, 1.8)],
    [width / 2, 0.6, wall * random.between(1.25, 1.8)],
    [random.between(-0.4, 0.4), -0.1, keep],
    [random.between(0.3, 0.7), -0.4, keep * 0.85],
  ];
  for (const [x, z, height] of places.slice(0, count)) {
    const ring = round ? circle(radius) : rectangle(radius * 2, radius * 2);
    const rim = ring.map(([px, pz]): [number, number] => [px * 1.18, pz * 1.18]);
    const decals = openings('slit', { columns: 1, rows: 2, from: 0.3, to: 0.9, fill: round ? 0.4 : 0.3 }, style.glass);
    solids.push(loft([x, 0, z], [ring, ring], [0, height], { color: style.wall, ...(round ? { front: decals } : { sides: decals }) }));
    solids.push(loft([x, height, z], [rim, rim], [0, 0.12], { color: style.trim }));
    if (coned) solids.push(spire([x, height + 0.12, z], rim, random.between(0.35, 0.7), { color: style.roof }));
  }
  return solids;
};

export const temple: Archetype = (random, style) => {
  const columns = random.integer(4, 8);
  const width = random.between(1.5, 2.2);
  const height = random.between(0.7, 1.05);
  const steps = random.integer(2, 4);
  const solids: Solid[] = [];
  for (let i = 0; i < steps; i++) {
    const grow = (steps - i) * 0.12;
    solids.push(
      box([0, i * 0.07, 0], { width: width + grow, height: 0.07, depth: 1.2 + grow }, { color: shade(style.wall, 0.9 + 0.05 * i) }),
    );
  }
  const base = steps * 0.07;
  solids.push(
    box([0, base, -0.1], { width: width * 0.86, height, depth: 0.9 }, { color: shade(style.wall, 0.72), front: doorway(style, 0.16, 0.6) }),
  );
  const radius = (width / columns) * random.between(0.2, 0.3);
  for (let i = 0; i < columns; i++) {
    const x = -width / 2 + radius * 1.4 + (i * (width - radius * 2.8)) / (columns - 1);
    solids.push(loft([x, base, 0.52], [circle(radius, 8), circle(radius * 0.84, 8)], [0, height], { color: style.wall }));
  }
  solids.push(
    box(
      [0, base + height, 0],
      { width: width * 1.04, height: 0.14, depth: 1.25 },
      { color: style.trim, sides: stripes(1, 0.4, style.accent) },
    ),
  );
  const crown = random.integer(0, 2);
  const top: Point = [0, base + height + 0.14, 0];
  if (crown < 2) {
    const rise = random.between(0.25, 0.5);
    solids.push(gable(top, { width: width * 1.06, height: rise, depth: 1.28, across: false }, { color: style.roof, wall: style.wall }));
  }
  if (crown > 0) {
    const drum = crown === 2 ? 0.2 : 0.5;
    solids.push(loft(top, [circle(0.42), circle(0.42)], [0, drum], { color: style.wall }));
    solids.push(dome([0, top[1] + drum, 0], 0.44, random.between(0.35, 0.5), 1, { color: style.roof }));
  }
  return solids;
};

export const domed: Archetype = (random, style) => {
  const width = random.between(1.2, 1.7);
  const height = random.between(0.6, 0.9);
  const solids: Solid[] = [];
  const minarets = random.pick([0, 1, 2, 4]);
  const reach = width / 2 + random.between(0.25, 0.45);
  const slim = random.between(0.08, 0.13);
  const tall = random.between(1.7, 2.4);
  const balconies = random.integer(1, 3);
  const places: [number, number][] = [
    [-reach, 0.55],
    [reach, 0.55],
    [-reach * 0.9, -0.7],
    [reach * 0.9, -0.7],
  ];
  for (const [x, z] of minarets === 1 ? places.slice(1, 2) : places.slice(0, minarets)) {
    solids.push(loft([x, 0, z], [circle(slim, 8), circle(slim * 0.75, 8)], [0, tall], { color: style.wall }));
    for (let i = 1; i <= balconies; i++) {
      solids.push(
        loft([x, (tall * i) / (balconies + 0.6), z], [circle(slim * 1.5, 8), circle(slim * 1.6, 8)], [0, 0.07], { color: style.trim }),
      );
    }
    solids.push(spire([x, tall, z], circle(slim * 0.9, 8), 0.4, { color: style.roof }));
  }
  const front = [
    ...facade({ ...style, opening: 'arch' }, { columns: random.pick([3, 5, 7]), rows: 1, to: 0.7 }),
    ...stripes(1, 0.06, style.accent),
  ];
  solids.push(box(ground, { width, height, depth: 1.1 }, { color: style.wall, front, sides: facade(style, { columns: 3, rows: 2 }) }));
  const drum = random.between(0.12, 0.3);
  const radius = random.between(0.34, 0.52);
  const bulge = random.between(0.98, 1.25);
  const small = random.chance(0.5);
  for (const x of small ? [-width * 0.36, width * 0.36] : []) solids.push(dome([x, height, 0.3], 0.2, 0.24, bulge, { color: style.roof }));
  solids.push(loft([0, height, 0], [circle(radius * 0.95), circle(radius * 0.95)], [0, drum], { color: style.trim }));
  solids.push(dome([0, height + drum, 0], radius, radius * random.between(0.9, 1.4), bulge, { color: style.roof }));
  solids.push(spire([0, height + drum + radius, 0], circle(0.04, 6), 0.35, { color: style.accent }));
  return solids;
};

export const triumphalArch: Archetype = (random, style) => {
  const width = random.between(1.4, 2);
  const height = random.between(1.1, 1.6);
  const arches = random.pick([1, 1, 3]);
  const main = random.between(0.26, 0.36);
  const tall = random.between(0.55, 0.72);
  const front: Decal[] = [...(style.courses > 0 ? stripes(style.courses, 0.28, style.trim) : [])];
  front.push(decal('arch', { u: 0.5 - main / 2, v: 0, width: main, height: tall }, [120, 138, 158]));
  for (const u of arches === 3 ? [0.08, 0.74] : [])
    front.push(decal('arch', { u, v: 0, width: 0.18, height: tall * 0.6 }, [110, 124, 140]));
  front.push(decal('square', { u: 0.04, v: 0.8, width: 0.92, height: 0.05 }, style.trim));
  const reliefs = random.integer(0, 3);
  for (let i = 0; i < reliefs; i++) front.push(decal('square', { u: 0.1 + i * 0.3, v: 0.87, width: 0.2, height: 0.1 }, style.accent));
  const solids: Solid[] = [
    box(ground, { width, height, depth: 0.55 }, { color: style.wall, front, sides: facade(style, { columns: 1, rows: 2 }) }),
  ];
  solids.push(box([0, height, 0], { width: width * 1.06, height: 0.1, depth: 0.62 }, { color: style.trim }));
  const attic = random.between(0.12, 0.4);
  solids.push(box([0, height + 0.1, 0], { width: width * 0.9, height: attic, depth: 0.5 }, { color: style.wall }));
  const crown = random.integer(0, 2);
  if (crown === 1) solids.push(box([0, height + 0.1 + attic, 0], { width: 0.4, height: 0.34, depth: 0.2 }, { color: style.accent }));
  if (crown === 2)
    for (const x of [-0.5, 0, 0.5])
      solids.push(spire([x * width, height + 0.1 + attic, 0], circle(0.09, 6), 0.34, { color: style.accent }));
  return solids;
};
