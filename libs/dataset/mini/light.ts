import { unit } from './camera.ts';
import type { Random } from './random.ts';
import type { Point, Rgb } from './solids.ts';
import { mix } from './style.ts';

/** The light of one picture: the hour, the weather and the camera's own colours. */
export type Light = {
  sun: Point;
  ambient: number;
  diffuse: number;
  tint: Rgb;
  sky: { top: Rgb; low: Rgb };
  /** Share of the sky covered by clouds. */
  clouds: number;
  /** Windows shine. */
  night: boolean;
  /** How much far things fade into the sky, 0 to 1. */
  haze: number;
};

type Hour = Omit<Light, 'sun' | 'clouds'>;

const hours = {
  day: { ambient: 0.62, diffuse: 0.5, tint: [255, 252, 244], sky: { top: [92, 142, 208], low: [188, 214, 236] }, night: false, haze: 0.1 },
  overcast: {
    ambient: 0.78,
    diffuse: 0.14,
    tint: [238, 244, 250],
    sky: { top: [170, 178, 188], low: [214, 218, 222] },
    night: false,
    haze: 0.25,
  },
  golden: {
    ambient: 0.52,
    diffuse: 0.62,
    tint: [255, 234, 202],
    sky: { top: [118, 138, 184], low: [250, 208, 150] },
    night: false,
    haze: 0.15,
  },
  dusk: { ambient: 0.46, diffuse: 0.22, tint: [206, 192, 236], sky: { top: [52, 58, 110], low: [226, 140, 124] }, night: true, haze: 0.15 },
  night: { ambient: 0.44, diffuse: 0.12, tint: [226, 200, 164], sky: { top: [12, 16, 36], low: [40, 42, 66] }, night: true, haze: 0 },
  fog: {
    ambient: 0.82,
    diffuse: 0.05,
    tint: [244, 246, 248],
    sky: { top: [206, 210, 214], low: [222, 224, 226] },
    night: false,
    haze: 0.5,
  },
} as const satisfies Record<string, Hour>;

/** The light of a picture; a hardness near 0 keeps to plain daylight. */
export function lightOf(random: Random, hardness: number): Light {
  const ordinary = ['day', 'day', 'overcast', 'golden'] as const;
  const hour = hours[random.chance(0.2 * hardness) ? random.pick(['dusk', 'night', 'fog'] as const) : random.pick(ordinary)];
  const azimuth = random.between(-1.9, 1.9);
  const other = hours[random.pick(ordinary)];
  const blend = hour.night ? 0 : random.between(0, 0.45);
  return {
    ...hour,
    sky: { top: mix(hour.sky.top, other.sky.top, blend), low: mix(hour.sky.low, other.sky.low, blend) },
    sun: unit([Math.sin(azimuth), random.between(0.35, 1.1), Math.cos(azimuth)]),
    clouds: hour.night ? 0 : random.between(0, 0.9),
  };
}

/** The colour of a surface with the outward `normal`, seen through `distance` (0 near, 1 at the horizon) of air. */
export function lit(light: Light, color: Rgb, normal: Point, distance = 0): Rgb {
  const facing = Math.max(0, normal[0] * light.sun[0] + normal[1] * light.sun[1] + normal[2] * light.sun[2]);
  const strength = light.ambient + light.diffuse * facing;
  const tinted: Rgb = [
    (color[0] * strength * light.tint[0]) / 255,
    (color[1] * strength * light.tint[1]) / 255,
    (color[2] * strength * light.tint[2]) / 255,
  ];
  return mix(tinted, light.sky.low, Math.min(0.9, light.haze * (0.5 + distance)));
}
