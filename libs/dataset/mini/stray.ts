import type { View } from './camera.ts';
import { viewOf } from './camera.ts';
import { landmarkOf } from './landmark.ts';
import { lightOf } from './light.ts';
import { pictureOf } from './picture.ts';
import type { Random } from './random.ts';
import type { Rgb } from './solids.ts';
import { shade } from './style.ts';
import { ellipse, outline, path, rect, rgb, svg } from './svg.ts';

const hues: readonly Rgb[] = [
  [196, 84, 66],
  [224, 178, 82],
  [98, 142, 84],
  [74, 112, 158],
  [150, 104, 150],
  [232, 226, 214],
  [92, 76, 66],
];

/** A plate on a table. */
function meal(view: View, random: Random): string {
  const { width: w, height: h } = view;
  const radius = Math.min(w, h) * random.between(0.32, 0.45);
  const parts = [
    rect(0, 0, w, h, rgb(shade([128, 96, 70], random.between(0.6, 1.3)))),
    ellipse(w / 2, h / 2, radius, radius * 0.9, 'rgb(236,234,228)'),
  ];
  for (let i = 0; i < 9; i++) {
    const size = radius * random.between(0.12, 0.3);
    const [x, y] = [w / 2 + random.normal() * radius * 0.3, h / 2 + random.normal() * radius * 0.28];
    parts.push(ellipse(x, y, size, size * random.between(0.6, 1), rgb(shade(random.pick(hues), random.between(0.8, 1.1)))));
  }
  return parts.join('');
}

/** A flower before leaves. */
function flower(view: View, random: Random): string {
  const { width: w, height: h } = view;
  const parts = [rect(0, 0, w, h, rgb(shade([70, 104, 60], random.between(0.6, 1.2))))];
  for (let i = 0; i < 14; i++) {
    const green = rgb(shade([82, 124, 70], random.between(0.6, 1.3)));
    parts.push(ellipse(random.between(0, w), random.between(0, h), w * random.between(0.04, 0.14), h * random.between(0.03, 0.09), green));
  }
  const hue = rgb(shade(random.pick(hues), random.between(0.9, 1.15)));
  const petals = random.integer(5, 9);
  const radius = Math.min(w, h) * random.between(0.14, 0.26);
  const [cx, cy] = [w * random.between(0.35, 0.65), h * random.between(0.35, 0.65)];
  for (let i = 0; i < petals; i++) {
    const angle = (i / petals) * 2 * Math.PI;
    parts.push(ellipse(cx + Math.cos(angle) * radius, cy + Math.sin(angle) * radius, radius * 0.55, radius * 0.55, hue));
  }
  return parts.join('') + ellipse(cx, cy, radius * 0.5, radius * 0.5, 'rgb(226,190,84)');
}

/** A head and shoulders. */
function portrait(view: View, random: Random): string {
  const { width: w, height: h } = view;
  const size = Math.min(w, h) * random.between(0.22, 0.32);
  const [x, y] = [w * random.between(0.35, 0.65), h * random.between(0.4, 0.5)];
  const skin = rgb(shade([214, 170, 140], random.between(0.5, 1.1)));
  return [
    rect(0, 0, w, h, rgb(shade(random.pick(hues), random.between(0.5, 1.1)))),
    ellipse(x, y + size * 2.1, size * 1.7, size * 1.3, rgb(random.pick(hues))),
    ellipse(x, y - size * 0.25, size * 0.9, size, rgb(shade([70, 52, 40], random.between(0.4, 1.6)))),
    ellipse(x, y, size * 0.75, size, skin),
  ].join('');
}

/** A room with a window and a picture on the wall. */
function room(view: View, random: Random): string {
  const { width: w, height: h } = view;
  const floor = h * random.between(0.62, 0.78);
  const parts = [
    rect(0, 0, w, h, rgb(shade([214, 204, 186], random.between(0.6, 1.1)))),
    rect(0, floor, w, h, rgb(shade([126, 92, 66], random.between(0.6, 1.2)))),
  ];
  const frames = random.integer(1, 3);
  for (let i = 0; i < frames; i++) {
    const x = random.between(0, 0.75) * w;
    parts.push(rect(x, h * 0.15, w * random.between(0.14, 0.26), h * random.between(0.2, 0.4), rgb(random.pick(hues))));
  }
  const seat: [number, number][] = [
    [w * 0.2, h],
    [w * 0.26, floor],
    [w * 0.7, floor],
    [w * 0.82, h],
  ];
  return parts.join('') + path(outline(seat), rgb(shade(random.pick(hues), 0.8)));
}

const others = [meal, flower, portrait, room] as const;

/** A picture of no landmark: half of them a building that appears nowhere else, the rest what else people photograph. */
export function strayOf(seed: number, id: string, random: Random, hardness: number): string {
  if (random.chance(0.5)) {
    const building = landmarkOf(seed, `stray ${id}`);
    return pictureOf(building, viewOf(random, building, hardness), lightOf(random, hardness), random, hardness);
  }
  const view = viewOf(random, { width: 1, height: 1 }, hardness);
  return svg(view.width, view.height, random.pick(others)(view, random));
}
