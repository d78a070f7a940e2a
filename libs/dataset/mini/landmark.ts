import type { ArchetypeName } from './archetypes.ts';
import { archetypes } from './archetypes.ts';
import type { Random } from './random.ts';
import { randomOf } from './random.ts';
import type { Rgb, Solid } from './solids.ts';
import { box, gable } from './solids.ts';
import type { Style } from './style.ts';
import { facade, shade, styleOf } from './style.ts';

/** What stands around a landmark, the same in all its pictures. */
export type Setting = {
  ground: Rgb;
  /** A darker band in front: a road, a canal, a flower bed. */
  strip: Rgb | null;
  backdrop: 'none' | 'hills' | 'mountains' | 'skyline' | 'forest';
  backdropSeed: number;
  trees: { x: number; z: number; height: number; pointed: boolean }[];
};

export type Landmark = { archetype: ArchetypeName; solids: Solid[]; setting: Setting; width: number; height: number };

/** In what a near twin differs from its sibling. */
export type TwinDifference = 'roof' | 'annex' | 'openings';

const grounds: readonly Rgb[] = [
  [168, 162, 152],
  [112, 140, 84],
  [196, 178, 140],
  [140, 132, 124],
  [222, 224, 228],
];
const strips: readonly Rgb[] = [
  [92, 92, 96],
  [86, 118, 140],
  [84, 116, 66],
  [150, 110, 90],
];

function settingOf(random: Random): Setting {
  const trees = Array.from({ length: random.pick([0, 1, 2, 3]) }, () => ({
    x: random.between(0.9, 1.9) * (random.chance(0.5) ? 1 : -1),
    z: random.between(-0.6, 0.9),
    height: random.between(0.5, 1.1),
    pointed: random.chance(0.4),
  }));
  return {
    ground: random.pick(grounds),
    strip: random.chance(0.5) ? random.pick(strips) : null,
    backdrop: random.pick(['none', 'hills', 'mountains', 'skyline', 'forest'] as const),
    backdropSeed: random.integer(0, 1_000_000),
    trees,
  };
}

const archetypeNames = Object.keys(archetypes).toSorted() as ArchetypeName[];

/** A pavilion beside the landmark: what one of two near twins has and the other lacks. */
function annex(style: Style): Solid[] {
  const paint = { color: style.wall, sides: facade(style, { columns: 2, rows: 1 }) };
  return [
    box([-1.15, 0, 0.25], { width: 0.6, height: 0.45, depth: 0.5 }, paint),
    gable([-1.15, 0.45, 0.25], { width: 0.66, height: 0.25, depth: 0.55, across: true }, { color: style.roof, wall: style.wall }),
  ];
}

/**
 * The landmark that `name` stands for under a seed. With `twin` it is that landmark's near twin: the same plan, place and
 * colours, but for one difference.
 */
export function landmarkOf(seed: number, name: string, twin?: TwinDifference): Landmark {
  const random = randomOf(seed, 'landmark', name);
  const archetype = random.pick(archetypeNames);
  const style = styleOf(randomOf(seed, 'style', name));
  const other = styleOf(randomOf(seed, 'other style', name));
  if (twin === 'roof') Object.assign(style, { roof: other.roof, accent: other.accent });
  if (twin === 'openings') Object.assign(style, { opening: style.opening === 'arch' ? 'square' : 'arch', glass: shade(style.glass, 1.6) });
  const solids = archetypes[archetype](randomOf(seed, 'plan', name), style);
  if (twin === 'annex') solids.push(...annex(style));
  let width = 0;
  let height = 0;
  for (const solid of solids) {
    for (const face of solid.faces) {
      for (const [x, y] of face.corners) {
        width = Math.max(width, Math.abs(x) * 2);
        height = Math.max(height, y);
      }
    }
  }
  return { archetype, solids, setting: settingOf(randomOf(seed, 'setting', name)), width, height };
}
