import { type Camera, cameraOf, cross, dot, minus, unit, type View, viewOf } from './camera.ts';
import { type Landmark, landmarkOf, type Point, type Rgb, type Solid, shade } from './landmark.ts';
import type { Random } from './random.ts';

/** The light of one picture. `haze` is how much objects fade into the sky, from 0 to 1; at night, windows are lit. */
type Light = { sun: Point; ambient: number; diffuse: number; tint: Rgb; sky: { top: Rgb; low: Rgb }; haze: number; isNight: boolean };
type Hour = Omit<Light, 'sun' | 'isNight'>;

const ordinary: readonly Hour[] = [
  { ambient: 0.62, diffuse: 0.5, tint: [255, 252, 244], sky: { top: [92, 142, 208], low: [188, 214, 236] }, haze: 0.1 },
  { ambient: 0.78, diffuse: 0.14, tint: [238, 244, 250], sky: { top: [170, 178, 188], low: [214, 218, 222] }, haze: 0.25 },
  { ambient: 0.52, diffuse: 0.62, tint: [255, 234, 202], sky: { top: [118, 138, 184], low: [250, 208, 150] }, haze: 0.15 },
];
const fog: Hour = { ambient: 0.82, diffuse: 0.05, tint: [244, 246, 248], sky: { top: [206, 210, 214], low: [222, 224, 226] }, haze: 0.5 };
const night: Hour = { ambient: 0.44, diffuse: 0.12, tint: [226, 200, 164], sky: { top: [12, 16, 36], low: [40, 42, 66] }, haze: 0 };
const shine: Rgb = [255, 218, 140];

/** A light near ordinary daylight for a small hardness; fog and night are rare and hard. */
function lightOf(random: Random, hardness: number): Light {
  const hour = random.chance(0.2 * hardness) ? random.pick([fog, night]) : random.pick(ordinary);
  const azimuth = random.between(-1.9, 1.9);
  return { ...hour, sun: unit([Math.sin(azimuth), random.between(0.35, 1.1), Math.cos(azimuth)]), isNight: hour === night };
}

/** The fill of a surface with the outward `normal`; `distance` goes from 0, near, to 1, the horizon. */
function lit(light: Light, color: Rgb, normal: Point, distance = 0): string {
  const strength = light.ambient + light.diffuse * Math.max(0, dot(normal, light.sun));
  const haze = Math.min(0.9, light.haze * (0.5 + distance));
  const channel = (i: 0 | 1 | 2): number => ((color[i] * strength * light.tint[i]) / 255) * (1 - haze) + light.sky.low[i] * haze;
  return rgb([channel(0), channel(1), channel(2)]);
}

// Drawings are SVG documents. Coordinates have two decimals, so the text is the same on every machine.
const px = (value: number): string => String(Math.round(value * 100) / 100 + 0);
const rgb = (color: Rgb): string => `rgb(${color.map((value) => Math.min(255, Math.max(0, Math.round(value)))).join(',')})`;
const outline = (points: readonly (readonly [number, number])[]): string => `M${points.map(([x, y]) => `${px(x)} ${px(y)}`).join('L')}Z`;
const path = (data: string, fill: string, more = ''): string => `<path d="${data}" fill="${fill}"${more}/>`;
const ellipse = (x: number, y: number, rx: number, ry: number, fill: string): string =>
  `<ellipse cx="${px(x)}" cy="${px(y)}" rx="${px(rx)}" ry="${px(ry)}" fill="${fill}"/>`;
const rect = (x: number, y: number, width: number, height: number, fill: string): string =>
  `<rect x="${px(x)}" y="${px(y)}" width="${px(width)}" height="${px(height)}" fill="${fill}"/>`;

/** A flat polygon whose corners run counter-clockwise seen from outside; `side` counts from 0, the front. */
export type Face = { corners: readonly Point[]; side: number; hasFacade: boolean };

/** The faces of a solid, from the ground upwards; its top is the last. */
export function facesOf({ at, width, depth, sides, levels, facade }: Solid): Face[] {
  const corner = (level: number, i: number): Point => {
    const [height, wide, deep] = levels[level] ?? [0, 0, 0];
    // A rotation by half a side puts a flat side in front; the ring's flat sides, not its corners, are `width` apart.
    const angle = Math.PI / 2 + Math.PI / sides - (i / sides) * 2 * Math.PI;
    const radius = 0.5 / Math.cos(Math.PI / sides);
    return [at[0] + Math.cos(angle) * radius * width * wide, at[1] + height, at[2] + Math.sin(angle) * radius * depth * deep];
  };
  const faces = levels.slice(1).flatMap((_, level) =>
    Array.from(
      { length: sides },
      (__, side): Face => ({
        corners: [corner(level, side), corner(level, side + 1), corner(level + 1, side + 1), corner(level + 1, side)],
        side,
        hasFacade: facade !== null,
      }),
    ),
  );
  return [...faces, { corners: Array.from({ length: sides }, (_, i) => corner(levels.length - 1, i)), side: -1, hasFacade: false }];
}

/** The outward normal of a face; null when it has no area. */
export function normalOf({ corners: [a, b, c, d] }: Face): Point | null {
  if (!a || !b || !c) return null;
  // From the diagonals, so that an edge of length 0 does not matter.
  const normal = d ? cross(minus(c, a), minus(d, b)) : cross(minus(b, a), minus(c, b));
  return dot(normal, normal) < 1e-12 ? null : unit(normal);
}

/** An opening's outline inside a box of a face, in the face's own coordinates from 0 to 1, v upwards. */
function opening(shape: 'square' | 'arch' | 'slit', u: number, v: number, width: number, height: number): [number, number][] {
  const inset = shape === 'slit' ? width * 0.3 : 0;
  const [left, right, top] = [u + inset, u + width - inset, v + height];
  const shoulder = shape === 'arch' ? v + height * 0.65 : top;
  const arc: [number, number][] = [0.85, 0.5, 0.15].map((t) => [u + width * t, top - height * 0.35 * (2 * t - 1) ** 2]);
  return [[left, v], [right, v], [right, shoulder], ...(shape === 'arch' ? arc : []), [left, shoulder]];
}

function facadeOf(face: Face, solid: Solid, normal: Point, camera: Camera, light: Light): string {
  const { facade, color } = solid;
  const [a, b, c, d] = face.corners;
  if (!facade || !a || !b || !c || !d) return '';
  const on = ([u, v]: readonly [number, number]): [number, number] => {
    const at = (i: 0 | 1 | 2): number => (a[i] * (1 - u) + b[i] * u) * (1 - v) + (d[i] * (1 - u) + c[i] * u) * v;
    return camera.project([at(0), at(1), at(2)]);
  };
  const { columns, rows, shape, courses } = facade;
  // A round tower shows many narrow sides: windows on every other one.
  const isBlind = solid.sides > 4 && face.side % 2 === 1;
  const [cellWidth, cellHeight] = [0.92 / columns, 0.86 / rows];
  const windows = Array.from({ length: isBlind ? 0 : columns * rows }, (_, i) => {
    const [u, v] = [0.04 + cellWidth * ((i % columns) + 0.22), 0.08 + cellHeight * (Math.floor(i / columns) + 0.17)];
    return outline(opening(shape, u, v, cellWidth * 0.56, cellHeight * 0.66).map(on));
  });
  const lines = Array.from({ length: courses }, (_, i) => outline(opening('square', 0, (i + 0.36) / courses, 1, 0.28 / courses).map(on)));
  const door = facade.door && face.side === 0 ? [1.25, 1] : [];
  return [
    path(lines.join(''), lit(light, shade(color, 0.8), normal)),
    path(windows.join(''), light.isNight ? rgb(shine) : lit(light, facade.color, normal)),
    ...door.map((size, i) =>
      path(
        outline(opening('arch', 0.5 - 0.09 * size, 0, 0.18 * size, 0.48 * size).map(on)),
        lit(light, i === 0 ? shade(color, 1.15) : [44, 40, 40], normal),
      ),
    ),
  ].join('');
}

function solidPicture(solid: Solid, camera: Camera, light: Light): string {
  return facesOf(solid)
    .map((face) => {
      const normal = normalOf(face);
      const first = face.corners[0];
      if (!normal || !first || dot(normal, minus(camera.eye, first)) <= 0) return '';
      const fill = lit(light, solid.color, normal);
      // A thin edge of the same colour covers the seams that antialiasing leaves between neighbours.
      const area = path(outline(face.corners.map(camera.project)), fill, ` stroke="${fill}" stroke-width="0.4"`);
      return face.hasFacade && face.side >= 0 ? area + facadeOf(face, solid, normal, camera, light) : area;
    })
    .join('');
}

const upwards: Point = [0, 1, 0];
const forwards: Point = [0, 0, 1];

/** The sky, a ridge far behind the landmark, which moves less than it when the viewer walks around, and the ground up to the horizon. */
function surroundings({ setting }: Landmark, view: View, camera: Camera, light: Light): string {
  const { top, low } = light.sky;
  const sky = `<defs><linearGradient id="sky" x2="0" y2="1"><stop stop-color="${rgb(top)}"/><stop offset="0.75" stop-color="${rgb(low)}"/></linearGradient></defs>`;
  const around = (height: number, i: number): [number, number] => {
    const angle = Math.PI + (i / (setting.backdrop.heights.length - 1) - 0.5) * 2.6;
    return camera.project([Math.sin(angle) * 14, height, Math.cos(angle) * 14]);
  };
  const below: [number, number][] = [
    [view.width * 3, view.height * 3],
    [-view.width * 2, view.height * 3],
  ];
  return [
    sky,
    rect(0, 0, view.width, view.height, 'url(#sky)'),
    path(
      outline([...setting.backdrop.heights.map(around).toReversed(), ...below.toReversed()]),
      lit(light, setting.backdrop.color, forwards, 0.9),
    ),
    path(
      outline([...setting.backdrop.heights.map((_, i) => around(0, i)).toReversed(), ...below.toReversed()]),
      lit(light, setting.ground, upwards),
    ),
  ].join('');
}

/** A tree as a flat shape that always faces the viewer. */
function treePicture({ at, height, pointed }: Landmark['setting']['trees'][number], camera: Camera, light: Light): string {
  if (camera.depth(at) < 0.3) return '';
  const [x, y] = camera.project(at);
  const size = y - camera.project([at[0], at[1] + height, at[2]])[1];
  const green = lit(light, [58, 94, 52], forwards);
  const cone: [number, number][] = [
    [x - size * 0.24, y - size * 0.14],
    [x + size * 0.24, y - size * 0.14],
    [x, y - size],
  ];
  const crown = pointed ? path(outline(cone), green) : ellipse(x, y - size * 0.62, size * 0.32, size * 0.36, green);
  return rect(x - size * 0.04, y - size * 0.3, size * 0.08, size * 0.3, lit(light, [88, 68, 52], forwards)) + crown;
}

const coats: readonly Rgb[] = [
  [52, 56, 70],
  [160, 60, 54],
  [70, 96, 140],
  [200, 196, 188],
  [96, 84, 60],
];

/** Obstacles in a photograph: people at the lower edge, leaves at one side. Harder views have more. */
function obstacles({ width, height }: View, light: Light, random: Random, hardness: number): string {
  const people = random.chance(0.1 + 0.45 * hardness) ? random.integer(1, 1 + Math.round(4 * hardness)) : 0;
  const leaves = random.chance(0.3 * hardness) ? 12 : 0;
  const side = random.pick([0, 1]);
  return [
    ...Array.from({ length: people }, () => {
      const size = height * random.between(0.12, 0.2 + 0.22 * hardness);
      const [x, y] = [random.between(0, width), height * random.between(0.97, 1.12)];
      const coat = rect(x - size * 0.16, y - size * 0.78, size * 0.32, size * 0.78, lit(light, random.pick(coats), forwards));
      return coat + ellipse(x, y - size * 0.88, size * 0.1, size * 0.12, lit(light, [206, 164, 138], forwards));
    }),
    ...Array.from({ length: leaves }, () => {
      const [x, y, size] = [
        width * Math.abs(side - 0.26 * random.next()),
        random.between(0, height * 0.6),
        width * random.between(0.03, 0.08),
      ];
      return ellipse(x, y, size, size * 0.8, lit(light, shade([62, 98, 54], random.between(0.6, 1.2)), forwards));
    }),
  ].join('');
}

const svg = (view: View, body: string): string =>
  `<svg xmlns="http://www.w3.org/2000/svg" width="${view.width}" height="${view.height}" viewBox="0 0 ${view.width} ${view.height}">${body}</svg>`;

/** A picture of a landmark, with a view and light of the given hardness, as an SVG document. */
export function pictureOf(landmark: Landmark, random: Random, hardness: number): string {
  const view = viewOf(random, landmark, hardness);
  const light = lightOf(random, hardness);
  const camera = cameraOf(view, landmark);
  const things = [
    ...landmark.solids.map((solid) => ({ at: solid.at, draw: () => solidPicture(solid, camera, light) })),
    ...landmark.setting.trees.map((tree) => ({ at: tree.at, draw: () => treePicture(tree, camera, light) })),
  ];
  const distance = ({ at }: { at: Point }): number => Math.hypot(at[0] - camera.eye[0], at[2] - camera.eye[2]);
  // Far objects first; the sort is stable, so objects at one place (a roof and its walls) keep their order.
  const drawn = things.toSorted((a, b) => distance(b) - distance(a)).map((thing) => thing.draw());
  return svg(view, surroundings(landmark, view, camera, light) + drawn.join('') + obstacles(view, light, random, hardness));
}

/** A picture without a landmark: a building that appears nowhere else, or a few objects on a table. */
export function strayOf(seed: number, id: string, random: Random, hardness: number): string {
  if (random.chance(0.5)) return pictureOf(landmarkOf(seed, `stray ${id}`), random, hardness);
  const view = viewOf(random, { width: 1, height: 1 }, hardness);
  const color = (): string => rgb(shade(random.pick(coats), random.between(0.6, 1.4)));
  const things = Array.from({ length: random.integer(3, 12) }, () => {
    const [x, y, size] = [random.between(0, view.width), random.between(0.2, 0.9) * view.height, random.between(0.06, 0.22) * view.width];
    return random.chance(0.6) ? ellipse(x, y, size, size * random.between(0.5, 1), color()) : rect(x, y, size, size, color());
  });
  const edge = view.height * random.between(0, 0.5);
  return svg(view, [rect(0, 0, view.width, view.height, color()), rect(0, edge, view.width, view.height, color()), ...things].join(''));
}
