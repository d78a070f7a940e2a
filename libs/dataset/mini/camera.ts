import type { Random } from './random.ts';
import type { Point } from './solids.ts';

/** Where a picture was taken from, and how it was framed. Angles in radians, lengths in the landmark's units. */
export type View = {
  /** Size of the picture in pixels. */
  width: number;
  height: number;
  /** Turn around the landmark; 0 faces its front. */
  yaw: number;
  distance: number;
  eyeHeight: number;
  /** The point that stands in the middle of the picture. */
  aim: Point;
  /** 1 fits the whole landmark into the picture, 2 shows about half of it. */
  zoom: number;
  /** Turn of the camera about its own axis. */
  roll: number;
};

/** How far views differ from the frontal, whole, upright one: 0 not at all, 1 as far as a person still knows the place. */
export type Hardness = number;

const longSides = { low: 128, high: 160 };
const aspects = [4 / 3, 4 / 3, 3 / 2, 5 / 4, 1, 4 / 5] as const;

/** A view of a landmark of the given extents, as hard as asked. */
export function viewOf(random: Random, extent: { width: number; height: number }, hardness: Hardness): View {
  const longSide = random.integer(longSides.low, longSides.high);
  const aspect = random.pick(aspects);
  const width = aspect >= 1 ? longSide : Math.round(longSide * aspect);
  const height = aspect >= 1 ? Math.round(longSide / aspect) : longSide;
  const reach = Math.max(extent.width, extent.height);
  const yaw = random.between(-0.65, 0.65) * hardness;
  const closeUp = random.chance(0.25 * hardness);
  const zoom = closeUp ? random.between(1.15, 1.15 + 0.6 * hardness) : random.between(1 - 0.25 * hardness, 1.1);
  const stray = 0.1 * hardness;
  return {
    width,
    height,
    yaw,
    distance: reach * random.between(1.8, 3.2),
    eyeHeight: random.between(0.15, 0.15 + 0.5 * hardness),
    aim: [
      extent.width * random.between(-stray, stray),
      extent.height * random.between(0.45 - stray, 0.47 + stray * (closeUp ? 1 : 0.5)),
      0,
    ],
    zoom,
    roll: random.normal() * 0.035 * hardness,
  };
}

/** A camera: projects points to pixels (y downwards) and tells how far away they are. */
export type Camera = {
  project(point: Point): [x: number, y: number];
  /** Distance along the line of sight; at most 0 behind the camera. */
  depth(point: Point): number;
  /** Where the eye stands. */
  eye: Point;
  /** Pixels a unit takes at the distance of the landmark's middle. */
  scale: number;
};

/** The pinhole camera of a view. Vertical lines converge when it looks up, as in photographs. */
export function cameraOf(view: View, extent: { width: number; height: number }): Camera {
  const eye: Point = [Math.sin(view.yaw) * view.distance, view.eyeHeight, Math.cos(view.yaw) * view.distance];
  const forward = unit([view.aim[0] - eye[0], view.aim[1] - eye[1], view.aim[2] - eye[2]]);
  const right = unit([-forward[2], 0, forward[0]]);
  const up: Point = cross(right, forward);
  const fit = Math.min((view.width * 0.95) / extent.width, (view.height * 0.9) / extent.height);
  const scale = fit * view.zoom;
  const focal = scale * view.distance;
  const [sin, cos] = [Math.sin(view.roll), Math.cos(view.roll)];
  const depth = (point: Point): number => dot(forward, [point[0] - eye[0], point[1] - eye[1], point[2] - eye[2]]);
  const project = (point: Point): [number, number] => {
    const offset: Point = [point[0] - eye[0], point[1] - eye[1], point[2] - eye[2]];
    const z = Math.max(0.05, dot(forward, offset));
    const x = (focal * dot(right, offset)) / z;
    const y = (-focal * dot(up, offset)) / z;
    return [view.width / 2 + x * cos - y * sin, view.height / 2 + x * sin + y * cos];
  };
  return { project, depth, eye, scale };
}

export function dot(a: Point, b: Point): number {
  return a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
}

export function cross(a: Point, b: Point): Point {
  return [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
}

export function unit(a: Point): Point {
  const length = Math.sqrt(dot(a, a)) || 1;
  return [a[0] / length, a[1] / length, a[2] / length];
}
