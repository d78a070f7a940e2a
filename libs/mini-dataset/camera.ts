import sharp from 'sharp';
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

/** EXIF orientations of a rotated camera, and the corresponding rotation of the stored pixels. */
const turns = { 3: 180, 6: 270, 8: 90 } as const;

/** Renders a drawing as a JPEG file with the properties of a photograph: exposure, white balance, noise, blur, quality. */
export async function photograph(drawing: string, random: Random, hardness: number): Promise<Buffer> {
  const { data, info } = await sharp(Buffer.from(drawing))
    .flatten({ background: '#888' })
    .removeAlpha()
    .raw()
    .toBuffer({ resolveWithObject: true });
  const exposure = 1 + random.normal() * 0.3 * hardness;
  const contrast = 1 + random.normal() * 0.22 * hardness;
  const warmth = random.normal() * 0.14 * hardness;
  const noise = random.between(0, 3 + 5 * hardness);
  const gain = [1 + warmth, 1, 1 - warmth].map((balance) => balance * exposure * contrast);
  const lift = 128 * (1 - contrast) * exposure;
  for (let i = 0; i < data.length; i += info.channels) {
    // Noise is the same on all three channels: the eye and JPEG treat it as brightness.
    const grain = lift + (random.next() + random.next() + random.next() - 1.5) * 2 * noise;
    for (let channel = 0; channel < 3; channel++) {
      const value = (data[i + channel] ?? 0) * (gain[channel] ?? 1) + grain;
      data[i + channel] = Math.min(255, Math.max(0, Math.round(value)));
    }
  }
  let image = sharp(data, { raw: { width: info.width, height: info.height, channels: info.channels } });
  if (random.chance(0.25 * hardness)) image = image.blur(random.between(0.4, 1));
  const orientation = random.chance(0.03) ? random.pick([3, 6, 8] as const) : null;
  if (orientation !== null) image = image.rotate(turns[orientation]).withMetadata({ orientation });
  if (random.chance(0.02)) image = image.greyscale();
  const quality = random.integer(Math.round(88 - 40 * hardness), 95);
  return image.jpeg({ quality, progressive: random.chance(0.1), chromaSubsampling: '4:2:0' }).toBuffer();
}
