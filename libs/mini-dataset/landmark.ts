import { type Random, randomOf } from './random.ts';

/** Axes: x to the right, y up, z towards a visitor in front of the main face; the ground is y = 0. One unit is about half a church's width. */
export type Point = readonly [x: number, y: number, z: number];
export type Rgb = readonly [red: number, green: number, blue: number];

/** A grid of openings on every side of a solid; `door` adds an arch in the middle of the front. */
export type Facade = { columns: number; rows: number; shape: 'square' | 'arch' | 'slit'; color: Rgb; door: boolean; courses: number };

/**
 * A ring of `sides` corners, `width` x `depth` in size, lifted through `levels`: height above `at`, and the ring's width and depth there
 * as shares. Boxes, towers, domes, gables, spires and stepped pyramids are all solids of this one kind.
 */
export type Solid = {
  at: Point;
  width: number;
  depth: number;
  sides: number;
  levels: readonly (readonly [height: number, width: number, depth: number])[];
  color: Rgb;
  facade: Facade | null;
};

/** The surroundings of a landmark, the same in all its pictures. */
type Setting = { ground: Rgb; backdrop: { color: Rgb; heights: number[] }; trees: { at: Point; height: number; pointed: boolean }[] };

export type Landmark = { solids: Solid[]; setting: Setting; width: number; height: number };

/** The only difference between a near twin and its sibling. */
export const twinDifferences = ['roof', 'annex', 'openings'] as const;
export type TwinDifference = (typeof twinDifferences)[number];

// Colours come from short lists, so that colour alone does not identify a landmark.
const walls: readonly Rgb[] = [
  [205, 190, 160],
  [172, 168, 160],
  [168, 104, 82],
  [226, 222, 212],
  [208, 170, 116],
  [132, 128, 126],
  [178, 182, 164],
  [150, 176, 186],
];
const roofs: readonly Rgb[] = [
  [150, 72, 54],
  [88, 92, 104],
  [92, 136, 120],
  [112, 84, 66],
  [186, 150, 74],
  [64, 78, 116],
];
const glasses: readonly Rgb[] = [
  [54, 60, 74],
  [80, 70, 62],
  [70, 96, 116],
];
const grounds: readonly Rgb[] = [
  [168, 162, 152],
  [112, 140, 84],
  [196, 178, 140],
  [86, 118, 140],
];
const backdrops: readonly Rgb[] = [
  [96, 122, 86],
  [122, 130, 146],
  [136, 132, 134],
  [58, 86, 58],
];

/** `color` scaled by `factor`. */
export function shade(color: Rgb, factor: number): Rgb {
  return [color[0] * factor, color[1] * factor, color[2] * factor];
}

type Levels = Solid['levels'];

/** The top of a solid: the levels from its top edge upwards, for a rise of 1. */
const crowns = {
  flat: levels([0, 1.12], [0.2, 1.12]),
  gable: levels([0, 1.06, 1.02], [0.7, 0.02, 1.02]),
  hip: levels([0, 1.08], [0.6, 0.5, 0.1]),
  spire: levels([0, 1.1], [1.5, 0.03]),
  dome: levels([0, 1], [0.25, 0.97], [0.5, 0.87], [0.75, 0.66], [0.93, 0.37], [1, 0.05]),
  onion: levels([0, 0.9], [0.25, 1.15], [0.5, 1.1], [0.75, 0.75], [1, 0.3], [1.4, 0.03]),
  steps: levels([0, 1], [0.3, 1], [0.3, 0.72], [0.6, 0.72], [0.6, 0.44], [0.9, 0.44]),
} satisfies Record<string, Levels>;
type Crown = keyof typeof crowns;
const crownNames = Object.keys(crowns) as Crown[];

function levels(...all: [height: number, width: number, depth?: number][]): Levels {
  return all.map(([height, width, depth = width]) => [height, width, depth]);
}

type Style = { wall: Rgb; trim: Rgb; roof: Rgb; facade: Omit<Facade, 'columns' | 'rows' | 'door'> };

function styleOf(random: Random): Style {
  const near = (base: Rgb): Rgb => [
    base[0] * random.between(0.8, 1.15),
    base[1] * random.between(0.85, 1.1),
    base[2] * random.between(0.8, 1.15),
  ];
  const wall = near(random.pick(walls));
  return {
    wall,
    trim: shade(wall, random.pick([0.75, 1.16])),
    roof: near(random.pick(roofs)),
    facade: {
      shape: random.pick(['square', 'arch', 'slit']),
      color: random.pick(glasses),
      courses: random.chance(0.35) ? random.integer(3, 7) : 0,
    },
  };
}

type Size = { width: number; depth: number; height: number; sides: number };

/** A solid with its crown. */
function storey(at: Point, size: Size, crown: { kind: Crown; rise: number }, style: Style, windows: Partial<Facade>): Solid[] {
  const { height, ...ring } = size;
  const grid = { ...style.facade, columns: 1, rows: 2, door: false, ...windows };
  return [
    { ...ring, at, levels: levels([0, 1], [height, 1]), color: style.wall, facade: grid },
    {
      ...ring,
      at: [at[0], at[1] + height, at[2]],
      levels: crowns[crown.kind].map(([level, width, depth]) => [level * crown.rise, width, depth]),
      color: crown.kind === 'flat' ? style.trim : crown.kind === 'steps' ? style.wall : style.roof,
      facade: null,
    },
  ];
}

/** A body, optionally with another storey, wings and towers: all buildings are of this family and differ in their parameters. */
function buildingOf(random: Random, style: Style): Solid[] {
  const crownOf = (rise: number): { kind: Crown; rise: number } => ({
    kind: random.pick(crownNames),
    rise: rise * random.between(0.7, 1.3),
  });
  const isTall = random.chance(0.25);
  const sides = random.chance(0.2) ? 10 : 4;
  const width = isTall ? random.between(0.5, 0.8) : random.between(0.9, 1.9);
  const height = isTall ? random.between(1.7, 2.6) : random.between(0.5, 1.2);
  const depth = sides > 4 || isTall ? width : random.between(0.8, 1.4);
  const columns = isTall ? random.integer(1, 3) : random.integer(3, 7);
  const rows = isTall ? random.integer(4, 8) : random.integer(1, 3);
  const solids = storey([0, 0, 0], { width, depth, height, sides }, crownOf(0.55), style, { columns, rows, door: !isTall });
  if (random.chance(0.45)) {
    const upper = {
      width: width * random.between(0.3, 0.55),
      depth: depth * 0.5,
      height: random.between(0.3, 0.9),
      sides: random.pick([4, 10]),
    };
    solids.push(...storey([0, height, 0], upper, crownOf(0.5), style, { rows: 1, columns: 2 }));
  }
  const beside = (count: number, size: Size, gap: number, crown: { kind: Crown; rise: number }, windows: Partial<Facade>): void => {
    for (const side of [-1, 1].slice(0, count)) {
      const at: Point = [side * (width / 2 + size.width * gap), 0, depth * random.between(-0.1, 0.4)];
      solids.push(...storey(at, size, crown, style, windows));
    }
  };
  const wing = { width: random.between(0.4, 0.8), depth: depth * 0.7, height: height * random.between(0.35, 0.7), sides: 4 };
  beside(random.pick([0, 0, 1, 2]), wing, 0.5, crownOf(0.35), { columns: 2, rows: random.integer(1, 2) });
  const thick = random.between(0.2, 0.42);
  const tower = { width: thick, depth: thick, height: height * random.between(1.2, 2), sides: random.pick([4, 10]) };
  beside(random.pick([0, 0, 1, 2, 2]), tower, random.between(0.2, 0.6), crownOf(0.5), { rows: random.integer(2, 4) });
  return solids;
}

function settingOf(random: Random): Setting {
  const rough = random.between(0, 4);
  return {
    ground: random.pick(grounds),
    backdrop: { color: random.pick(backdrops), heights: Array.from({ length: 25 }, () => rough * random.between(0.25, 1)) },
    trees: Array.from({ length: random.integer(0, 3) }, () => ({
      at: [random.between(0.9, 1.9) * random.pick([-1, 1]), 0, random.between(-0.6, 0.9)] as const,
      height: random.between(0.5, 1.1),
      pointed: random.chance(0.4),
    })),
  };
}

/**
 * The landmark of `name` for a seed. With `twin` it is that landmark's near twin: the same plan, place and colours, with one difference.
 */
export function landmarkOf(seed: number, name: string, twin: TwinDifference | null = null): Landmark {
  const style = styleOf(randomOf(seed, 'style', name));
  if (twin === 'roof') style.roof = styleOf(randomOf(seed, 'other style', name)).roof;
  if (twin === 'openings')
    style.facade = { ...style.facade, shape: style.facade.shape === 'arch' ? 'square' : 'arch', color: shade(style.facade.color, 1.6) };
  const solids = buildingOf(randomOf(seed, 'plan', name), style);
  if (twin === 'annex') {
    solids.push(
      ...storey([-1.15, 0, 0.25], { width: 0.6, depth: 0.5, height: 0.45, sides: 4 }, { kind: 'hip', rise: 0.4 }, style, {
        columns: 2,
        rows: 1,
      }),
    );
  }
  return {
    solids,
    setting: settingOf(randomOf(seed, 'setting', name)),
    width: Math.max(...solids.map((solid) => 2 * Math.abs(solid.at[0]) + solid.width)),
    height: Math.max(...solids.map(({ at, levels: all }) => at[1] + Math.max(...all.map(([height]) => height)))),
  };
}
