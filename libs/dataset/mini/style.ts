import type { Random } from './random.ts';
import type { Decal, Opening, Rgb } from './solids.ts';
import { openings, stripes } from './solids.ts';

/** The colours and manner of one landmark. Colours come from short lists: no landmark is known by its colour alone. */
export type Style = { wall: Rgb; trim: Rgb; roof: Rgb; accent: Rgb; glass: Rgb; opening: Opening; courses: number };

const walls: readonly Rgb[] = [
  [205, 190, 160],
  [172, 168, 160],
  [168, 104, 82],
  [226, 222, 212],
  [208, 170, 116],
  [198, 158, 146],
  [132, 128, 126],
  [178, 182, 164],
  [216, 196, 110],
  [150, 176, 186],
  [196, 130, 120],
];
const roofs: readonly Rgb[] = [
  [150, 72, 54],
  [88, 92, 104],
  [92, 136, 120],
  [112, 84, 66],
  [186, 150, 74],
  [64, 78, 116],
];
const accents: readonly Rgb[] = [
  [214, 178, 74],
  [236, 234, 226],
  [74, 104, 146],
  [152, 60, 56],
  [70, 66, 64],
  [86, 138, 110],
];
const glasses: readonly Rgb[] = [
  [54, 60, 74],
  [80, 70, 62],
  [70, 96, 116],
];

/** `color` scaled by `factor`, kept within 0..255. */
export function shade(color: Rgb, factor: number): Rgb {
  const scale = (value: number): number => Math.min(255, Math.max(0, value * factor));
  return [scale(color[0]), scale(color[1]), scale(color[2])];
}

/** The colour `share` of the way from `from` to `to`. */
export function mix(from: Rgb, to: Rgb, share: number): Rgb {
  const between = (a: number, b: number): number => a + (b - a) * share;
  return [between(from[0], to[0]), between(from[1], to[1]), between(from[2], to[2])];
}

/** A colour near `base`: every landmark has its own sandstone. */
function varied(random: Random, base: Rgb): Rgb {
  const light = random.between(0.86, 1.08);
  return [
    base[0] * light * random.between(0.88, 1.1),
    base[1] * light * random.between(0.92, 1.06),
    base[2] * light * random.between(0.85, 1.12),
  ];
}

export function styleOf(random: Random): Style {
  const wall = varied(random, random.pick(walls));
  return {
    wall,
    trim: random.chance(0.5) ? shade(wall, 0.78) : shade(wall, 1.16),
    roof: varied(random, random.pick(roofs)),
    accent: varied(random, random.pick(accents)),
    glass: random.pick(glasses),
    opening: random.pick(['square', 'arch', 'slit'] as const),
    courses: random.chance(0.35) ? random.integer(4, 9) : 0,
  };
}

/** The facade of a wall: courses of stone if the style has them, and a grid of openings. */
export function facade(style: Style, grid: { columns: number; rows: number; from?: number; to?: number; fill?: number }): Decal[] {
  const courses = style.courses > 0 ? stripes(style.courses, 0.28, style.trim) : [];
  return [...courses, ...openings(style.opening, grid, style.glass)];
}
