import type { Camera, View } from './camera.ts';
import type { Setting } from './landmark.ts';
import type { Light } from './light.ts';
import { lit } from './light.ts';
import type { Random } from './random.ts';
import { randomOf } from './random.ts';
import type { Point, Rgb } from './solids.ts';
import { mix, shade } from './style.ts';
import { ellipse, outline, path, px, rect, rgb } from './svg.ts';

const upwards: Point = [0, 1, 0];
const forwards: Point = [0, 0, 1];
/** How far away the backdrop and the end of the ground lie. */
const far = 60;

export function skyOf(view: View, light: Light, random: Random): string {
  const gradient = `<defs><linearGradient id="sky" x1="0" y1="0" x2="0" y2="1"><stop offset="0" stop-color="${rgb(light.sky.top)}"/><stop offset="0.75" stop-color="${rgb(light.sky.low)}"/></linearGradient></defs>`;
  const parts = [gradient, rect(0, 0, view.width, view.height, 'url(#sky)')];
  const white = rgb(mix(light.sky.low, [255, 255, 255], 0.6));
  const clouds = Math.round(light.clouds * 5);
  for (let i = 0; i < clouds; i++) {
    const [x, y] = [random.between(0, view.width), random.between(0, view.height * 0.5)];
    const size = random.between(0.06, 0.16) * view.width;
    for (let puff = 0; puff < 3; puff++) {
      const shift = (puff - 1) * size * random.between(0.5, 0.9);
      parts.push(ellipse(x + shift, y + random.between(-2, 2), size, size * random.between(0.22, 0.4), white, 0.45));
    }
  }
  return parts.join('');
}

/** The line of the horizon, a little beyond both edges of the picture. */
function horizon(view: View, camera: Camera): [number, number][] {
  const around = [-1.25, -0.8, -0.4, 0, 0.4, 0.8, 1.25].map((turn): [number, number] => {
    const angle = view.yaw + Math.PI + turn * 0.9;
    return camera.project([camera.eye[0] + Math.sin(angle) * far, 0, camera.eye[2] + Math.cos(angle) * far]);
  });
  return around.toSorted((a, b) => a[0] - b[0]);
}

/** Mountains, hills, roofs or woods behind the landmark; they move less than the landmark when the viewer walks around it. */
export function backdropOf(setting: Setting, view: View, camera: Camera, light: Light): string {
  if (setting.backdrop === 'none') return '';
  const random = randomOf(setting.backdropSeed, 'backdrop');
  const shapes: string[] = [];
  const color: Rgb = {
    hills: [96, 122, 86] as const,
    mountains: [122, 130, 146] as const,
    skyline: [136, 132, 134] as const,
    forest: [58, 86, 58] as const,
  }[setting.backdrop];
  const rough = { hills: 1.6, mountains: 5, skyline: 2.2, forest: 1.4 }[setting.backdrop];
  const steps = 36;
  const ridge: [number, number][] = [];
  for (let i = 0; i <= steps; i++) {
    const angle = Math.PI + (i / steps - 0.5) * 2.6;
    const wave = setting.backdrop === 'hills' ? 0.5 + 0.5 * Math.sin(i * 0.7 + random.between(0, 0.4)) : random.between(0.25, 1);
    const foot: Point = [Math.sin(angle) * 14, 0, Math.cos(angle) * 14];
    const top = camera.project([foot[0], wave * rough, foot[2]]);
    if (camera.depth(foot) <= 1) continue;
    if (setting.backdrop === 'skyline') {
      const last = ridge.at(-1);
      if (last) ridge.push([top[0], last[1]]);
    }
    ridge.push(top);
  }
  if (ridge.length < 2) return '';
  const below = view.height * 2;
  const first = ridge[0] ?? [0, 0];
  const last = ridge.at(-1) ?? [0, 0];
  shapes.push(path(outline([[first[0], below], ...ridge, [last[0], below]]), rgb(lit(light, color, forwards, 0.9))));
  return shapes.join('');
}

export function groundOf(setting: Setting, view: View, camera: Camera, light: Light): string {
  const line = horizon(view, camera);
  const wide = view.width;
  const below = view.height * 3;
  const left = line[0] ?? [0, 0];
  const right = line.at(-1) ?? [0, 0];
  const area: [number, number][] = [[-wide, below], [-wide, left[1]], ...line, [wide * 2, right[1]], [wide * 2, below]];
  const parts = [path(outline(area), rgb(lit(light, setting.ground, upwards)))];
  if (setting.strip) {
    const strip: Point[] = [
      [-12, 0, 0.95],
      [12, 0, 0.95],
      [12, 0, 1.35],
      [-12, 0, 1.35],
    ];
    if (strip.every((point) => camera.depth(point) > 0.2)) {
      parts.push(path(outline(strip.map(camera.project)), rgb(lit(light, setting.strip, upwards))));
    }
  }
  return parts.join('');
}

/** A tree as a flat shape that always faces the viewer. */
export function tree(at: Point, height: number, pointed: boolean, camera: Camera, light: Light): string {
  const depth = camera.depth(at);
  if (depth < 0.3) return '';
  const [x, y] = camera.project(at);
  const [, top] = camera.project([at[0], at[1] + height, at[2]]);
  const size = Math.abs(y - top);
  const green = rgb(lit(light, [66, 104, 58], forwards));
  const dark = rgb(lit(light, [48, 82, 46], forwards));
  const trunk = rect(x - size * 0.04, y - size * 0.3, size * 0.08, size * 0.3, rgb(lit(light, [88, 68, 52], forwards)));
  if (pointed) {
    const cone: [number, number][] = [
      [x - size * 0.24, y - size * 0.14],
      [x + size * 0.24, y - size * 0.14],
      [x, y - size],
    ];
    return trunk + path(outline(cone), green);
  }
  return (
    trunk +
    ellipse(x, y - size * 0.6, size * 0.32, size * 0.34, dark) +
    ellipse(x - size * 0.12, y - size * 0.68, size * 0.22, size * 0.24, green) +
    ellipse(x + size * 0.14, y - size * 0.58, size * 0.18, size * 0.2, green)
  );
}

/** A person as a dark or coloured silhouette; (x, y) are the feet, in pixels. */
function person(x: number, y: number, size: number, coat: string, skin: string): string {
  const body: [number, number][] = [
    [x - size * 0.13, y],
    [x - size * 0.17, y - size * 0.78],
    [x + size * 0.17, y - size * 0.78],
    [x + size * 0.13, y],
  ];
  return path(outline(body), coat) + ellipse(x, y - size * 0.88, size * 0.1, size * 0.12, skin);
}

/** What gets in the way of a photograph: people, a branch, a lamp post, a fence. Harder views have more of it. */
export function obstaclesOf(view: View, light: Light, random: Random, hardness: number): string {
  const parts: string[] = [];
  const coats: readonly Rgb[] = [
    [52, 56, 70],
    [160, 60, 54],
    [70, 96, 140],
    [200, 196, 188],
    [96, 84, 60],
  ];
  const color = (base: Rgb): string => rgb(lit(light, base, forwards));
  if (random.chance(0.45 * hardness + 0.1)) {
    const count = random.integer(1, 1 + Math.round(4 * hardness));
    for (let i = 0; i < count; i++) {
      const size = view.height * random.between(0.12, 0.2 + 0.22 * hardness);
      const coat = color(random.pick(coats));
      parts.push(person(random.between(0, view.width), view.height * random.between(0.97, 1.12), size, coat, color([206, 164, 138])));
    }
  }
  if (random.chance(0.3 * hardness)) {
    const side = random.chance(0.5) ? 0 : view.width;
    const leaf = shade([62, 98, 54], random.between(0.6, 1.1));
    for (let i = 0; i < 12; i++) {
      const reach = view.width * 0.26 * random.next();
      const x = side === 0 ? reach : view.width - reach;
      const size = view.width * random.between(0.03, 0.08);
      parts.push(ellipse(x, random.between(0, view.height * 0.6), size, size * 0.8, color(shade(leaf, random.between(0.8, 1.2))), 0.95));
    }
  }
  if (random.chance(0.15 * hardness)) {
    const x = random.between(0.1, 0.9) * view.width;
    parts.push(rect(x, view.height * 0.15, view.width * 0.012, view.height, color([60, 60, 64])));
    parts.push(
      ellipse(
        x + view.width * 0.006,
        view.height * 0.15,
        view.width * 0.025,
        view.width * 0.03,
        light.night ? 'rgb(255,236,180)' : color([210, 206, 190]),
      ),
    );
  }
  if (random.chance(0.12 * hardness)) {
    const top = view.height * random.between(0.84, 0.92);
    const bars = 18;
    let data = '';
    for (let i = 0; i < bars; i++) data += `M${px((i / bars) * view.width)} ${px(top)}h1.2V${view.height}h-1.2Z`;
    parts.push(path(data, color([50, 52, 54])), rect(0, top, view.width, 1.4, color([50, 52, 54])));
  }
  return parts.join('');
}
