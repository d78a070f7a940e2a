import type { Archetype } from './archetype.ts';
import { doorway, ground } from './archetype.ts';
import type { Point, Solid } from './solids.ts';
import { box, circle, decal, dome, gable, loft, openings, rectangle, spire, stripes } from './solids.ts';
import { facade, shade } from './style.ts';

export const pagoda: Archetype = (random, style) => {
  const tiers = random.integer(3, 7);
  const shrink = random.between(0.8, 0.92);
  const eaves = random.between(1.3, 1.65);
  const body = random.between(0.24, 0.38);
  const solids: Solid[] = [box(ground, { width: 1.5, height: 0.14, depth: 1.5 }, { color: shade(style.trim, 0.9) })];
  let y = 0.14;
  let width = random.between(0.8, 1.1);
  const bays = random.integer(2, 4);
  for (let i = 0; i < tiers; i++) {
    const sides = openings(style.opening, { columns: bays, rows: 1, from: 0.15, to: 0.85 }, style.glass);
    solids.push(box([0, y, 0], { width, height: body, depth: width }, { color: i % 2 ? style.wall : style.accent, sides }));
    y += body;
    const wide = rectangle(width * eaves, width * eaves);
    const narrow = rectangle(width * 0.8, width * 0.8);
    solids.push(loft([0, y - 0.03, 0], [wide, narrow], [0, 0.2], { color: style.roof }));
    y += 0.15;
    width *= shrink;
  }
  solids.push(spire([0, y, 0], circle(0.06, 6), random.between(0.3, 0.7), { color: style.trim }));
  return solids;
};

export const lighthouse: Archetype = (random, style) => {
  const height = random.between(1.7, 2.5);
  const radius = random.between(0.28, 0.4);
  const bands = random.integer(0, 5);
  const slim = radius * random.between(0.55, 0.8);
  const levels = Math.max(1, bands * 2);
  const ring = (share: number): [number, number][] => circle(radius + (slim - radius) * share, 12);
  const solids: Solid[] = [];
  const house = random.integer(0, 2);
  if (house > 0) {
    const x = house === 1 ? -0.75 : 0.75;
    const paint = { color: style.wall, sides: facade(style, { columns: 3, rows: 1 }) };
    solids.push(box([x, 0, -0.1], { width: 0.9, height: 0.4, depth: 0.6 }, paint));
    solids.push(gable([x, 0.4, -0.1], { width: 0.95, height: 0.28, depth: 0.66, across: true }, { color: style.roof, wall: style.wall }));
  }
  for (let i = 0; i < levels; i++) {
    const color = i % 2 ? style.accent : style.wall;
    const front = openings('slit', { columns: 1, rows: 1, fill: 0.5 }, style.glass);
    solids.push(
      loft([0, (height * i) / levels, 0], [ring(i / levels), ring((i + 1) / levels)], [0, height / levels], {
        color,
        ...(i % 2 ? {} : { front }),
      }),
    );
  }
  solids.push(loft([0, height, 0], [circle(slim * 1.4), circle(slim * 1.4)], [0, 0.08], { color: style.trim }));
  solids.push(loft([0, height + 0.08, 0], [circle(slim * 0.8), circle(slim * 0.8)], [0, 0.26], { color: style.glass }));
  solids.push(dome([0, height + 0.34, 0], slim * 0.95, 0.24, 1, { color: style.roof }));
  return solids;
};

export const highRise: Archetype = (random, style) => {
  const solids: Solid[] = [];
  const blocks = random.integer(1, 3);
  const opening = random.pick(['band', 'square', 'slit'] as const);
  let x = blocks === 1 ? 0 : -0.55;
  for (let i = 0; i < blocks; i++) {
    const width = random.between(0.5, 0.85);
    const height = random.between(1.3, 2.7);
    const rows = Math.round(height * random.between(3.5, 5.5));
    const sides = openings(opening, { columns: random.integer(3, 6), rows, from: 0.04, to: 0.97, fill: 0.62 }, style.glass);
    const taper = random.chance(0.35) ? random.between(0.5, 0.85) : 1;
    const low = rectangle(width, width);
    const high = rectangle(width * taper, width * taper);
    solids.push(loft([x, 0, -0.2 * i], [low, high], [0, height], { color: i % 2 ? style.accent : style.wall, sides }));
    const cap = random.integer(0, 2);
    if (cap === 1) solids.push(spire([x, height, -0.2 * i], circle(0.05, 6), random.between(0.4, 0.8), { color: style.trim }));
    if (cap === 2) solids.push(spire([x, height, -0.2 * i], high, random.between(0.25, 0.55), { color: style.roof }));
    x += width + random.between(0.02, 0.2);
  }
  const podium = { color: style.trim, sides: openings('square', { columns: 9, rows: 1 }, style.glass) };
  if (random.chance(0.5)) solids.push(box([0, 0, 0.45], { width: 2.1, height: 0.28, depth: 0.5 }, podium));
  return solids;
};

export const stepped: Archetype = (random, style) => {
  const levels = random.integer(1, 7);
  const width = random.between(1.9, 2.5);
  const height = random.between(1.0, 1.7);
  const solids: Solid[] = [];
  if (levels === 1) {
    const courses = stripes(9, 0.3, style.trim);
    solids.push(spire(ground, rectangle(width, width), height * 1.1, { color: style.wall, sides: courses }));
  } else {
    for (let i = 0; i < levels; i++) {
      const low = width * (1 - (i / levels) * 0.75);
      const high = width * (1 - ((i + 0.55) / levels) * 0.75);
      const stair = [decal('square', { u: 0.42, v: 0, width: 0.16, height: 1 }, style.accent)];
      const level = height / levels;
      const rings = [rectangle(low, low), rectangle(high, high)];
      solids.push(loft([0, i * level, 0], rings, [0, level], { color: style.wall, front: stair, top: style.trim }));
    }
    if (random.chance(0.7)) {
      solids.push(box([0, height, 0], { width: 0.45, height: 0.32, depth: 0.45 }, { color: style.wall, front: doorway(style, 0.3, 0.7) }));
      solids.push(box([0, height + 0.32, 0], { width: 0.55, height: 0.1, depth: 0.55 }, { color: style.roof }));
    }
  }
  const aside = random.integer(0, 2);
  if (aside > 0) solids.push(spire([aside === 1 ? -1.45 : 1.45, 0, -0.6], rectangle(0.9, 0.9), 0.8, { color: shade(style.wall, 0.92) }));
  return solids;
};

export const windmill: Archetype = (random, style) => {
  const height = random.between(1.1, 1.5);
  const low = random.between(0.42, 0.56);
  const high = low * random.between(0.55, 0.75);
  const windows = openings(style.opening, { columns: 1, rows: random.integer(1, 3), fill: 0.4 }, style.glass);
  const solids: Solid[] = [loft(ground, [circle(low, 8), circle(high, 8)], [0, height], { color: style.wall, sides: windows })];
  if (random.chance(0.5))
    solids.push(loft([0, height * 0.4, 0], [circle(low * 1.3, 8), circle(low * 1.3, 8)], [0, 0.06], { color: style.trim }));
  solids.push(spire([0, height, 0], circle(high * 1.15, 8), random.between(0.35, 0.6), { color: style.roof }));
  const blades = random.pick([4, 4, 6]);
  const length = random.between(0.75, 1.05);
  const start = random.between(0, Math.PI / 2);
  const z = high + 0.12;
  for (let i = 0; i < blades; i++) {
    const angle = start + (i / blades) * 2 * Math.PI;
    const [cx, cy] = [Math.cos(angle), Math.sin(angle)];
    const at = (along: number, across: number): Point => [cx * along - cy * across, height + cy * along + cx * across, z];
    const corners = [at(0.08, -0.03), at(length, -0.03), at(length, 0.13), at(0.08, 0.13)];
    solids.push({ faces: [{ corners, color: style.accent, decals: stripes(1, 0.12, style.glass) }], centre: [0, 0, z] });
  }
  return solids;
};
