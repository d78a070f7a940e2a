import type { Random } from './random.ts';
import type { Decal, Point, Solid } from './solids.ts';
import { decal } from './solids.ts';
import type { Style } from './style.ts';
import { shade } from './style.ts';

/** Draws the solids of one landmark. A change of any number drawn gives another building of the same kind. */
export type Archetype = (random: Random, style: Style) => Solid[];

export const ground: Point = [0, 0, 0];

export function doorway(style: Style, width: number, height: number): Decal[] {
  return [
    decal('arch', { u: 0.5 - width * 0.62, v: 0, width: width * 1.24, height: height * 1.12 }, style.trim),
    decal('arch', { u: 0.5 - width / 2, v: 0, width, height }, shade(style.glass, 0.7)),
  ];
}

export function roseWindow(style: Style, size: number, v: number): Decal[] {
  return [
    decal('round', { u: 0.5 - size * 0.6, v: v - size * 0.1, width: size * 1.2, height: size * 1.2 }, style.trim),
    decal('round', { u: 0.5 - size / 2, v, width: size, height: size }, style.glass, true),
  ];
}
