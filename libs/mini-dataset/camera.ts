import type { Point } from './landmark.ts';
import type { Random } from './random.ts';

/** The position and framing of the camera. Angles in radians, lengths in the landmark's units. */
export type View = {
  /** Size of the picture in pixels. */
  width: number;
  height: number;
  /** Rotation around the landmark; 0 faces its front. */
  yaw: number;
  distance: number;
  eyeHeight: number;
  /** The point in the middle of the picture. */
  aim: Point;
  /** 1 fits the whole landmark into the picture, 2 shows about half of it. */
  zoom: number;
  /** Roll of the camera. */
  roll: number;
};

type Extent = { width: number; height: number };

/**
 * A view of a landmark of the given extent. Hardness is the difference from the frontal, complete, upright view: 0 is none, 1 the limit at
 * which a person still recognizes the place.
 */
export function viewOf(random: Random, extent: Extent, hardness: number): View {
  const longSide = random.integer(128, 160);
  const aspect = random.pick([4 / 3, 4 / 3, 3 / 2, 5 / 4, 1, 4 / 5]);
  const isCloseUp = random.chance(0.25 * hardness);
  const stray = 0.1 * hardness;
  return {
    width: aspect >= 1 ? longSide : Math.round(longSide * aspect),
    height: aspect >= 1 ? Math.round(longSide / aspect) : longSide,
    yaw: random.between(-0.65, 0.65) * hardness,
    distance: Math.max(extent.width, extent.height) * random.between(1.8, 3.2),
    eyeHeight: random.between(0.15, 0.15 + 0.5 * hardness),
    aim: [extent.width * random.between(-stray, stray), extent.height * random.between(0.45 - stray, 0.47 + stray), 0],
    zoom: isCloseUp ? random.between(1.15, 1.15 + 0.6 * hardness) : random.between(1 - 0.25 * hardness, 1.1),
    roll: random.normal() * 0.035 * hardness,
  };
}

export type Camera = {
  /** The pixel (y downwards) at which a point is seen. */
  project(point: Point): [x: number, y: number];
  /** Distance along the line of sight; at most 0 behind the camera. */
  depth(point: Point): number;
  /** The position of the eye. */
  eye: Point;
};

/** The pinhole camera of a view. Vertical lines converge when it looks up, as in photographs. */
export function cameraOf(view: View, extent: Extent): Camera {
  const eye: Point = [Math.sin(view.yaw) * view.distance, view.eyeHeight, Math.cos(view.yaw) * view.distance];
  const forward = unit(minus(view.aim, eye));
  const right = unit([-forward[2], 0, forward[0]]);
  const up = cross(right, forward);
  const focal = Math.min((view.width * 0.95) / extent.width, (view.height * 0.9) / extent.height) * view.zoom * view.distance;
  const [sin, cos] = [Math.sin(view.roll), Math.cos(view.roll)];
  const depth = (point: Point): number => dot(forward, minus(point, eye));
  const project = (point: Point): [number, number] => {
    const offset = minus(point, eye);
    const perUnit = focal / Math.max(0.05, depth(point));
    const [x, y] = [perUnit * dot(right, offset), -perUnit * dot(up, offset)];
    return [view.width / 2 + x * cos - y * sin, view.height / 2 + x * sin + y * cos];
  };
  return { project, depth, eye };
}

export function minus(a: Point, b: Point): Point {
  return [a[0] - b[0], a[1] - b[1], a[2] - b[2]];
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
