import type { Camera, View } from './camera.ts';
import { cameraOf, cross, dot, unit } from './camera.ts';
import type { Landmark } from './landmark.ts';
import type { Light } from './light.ts';
import { lit } from './light.ts';
import type { Random } from './random.ts';
import type { Decal, Face, Point, Rgb } from './solids.ts';
import { backdropOf, groundOf, obstaclesOf, skyOf, tree } from './surroundings.ts';
import { outline, rgb, svg } from './svg.ts';

const shine: Rgb = [255, 218, 140];

/** The outward normal of a face, or null when it has no area. */
function normalOf(face: Face): Point | null {
  const [a, b, c] = face.corners;
  if (!a || !b || !c) return null;
  const normal = cross([b[0] - a[0], b[1] - a[1], b[2] - a[2]], [c[0] - b[0], c[1] - b[1], c[2] - b[2]]);
  return dot(normal, normal) < 1e-12 ? null : unit(normal);
}

/** The point (u, v) of a four-cornered face. */
function pointOn(face: Face, u: number, v: number): Point {
  const [a, b, c, d] = face.corners;
  if (!a || !b || !c || !d) return [0, 0, 0];
  const at = (i: 0 | 1 | 2): number => (a[i] * (1 - u) + b[i] * u) * (1 - v) + (d[i] * (1 - u) + c[i] * u) * v;
  return [at(0), at(1), at(2)];
}

function drawDecals(face: Face, normal: Point, camera: Camera, light: Light): string {
  if (face.corners.length !== 4) return '';
  // Neighbouring decals of one colour share a path: a tower block has hundreds of windows.
  const runs: { fill: string; data: string }[] = [];
  const paint = (decal: Decal): string => rgb(decal.lit && light.night ? shine : lit(light, decal.color, normal));
  for (const decal of face.decals) {
    const fill = paint(decal);
    const data = outline(decal.outline.map(([u, v]) => camera.project(pointOn(face, u, v))));
    const last = runs.at(-1);
    if (last?.fill === fill) last.data += data;
    else runs.push({ fill, data });
  }
  return runs.map((run) => `<path d="${run.data}" fill="${run.fill}"/>`).join('');
}

function drawFace(face: Face, camera: Camera, light: Light): string {
  const normal = normalOf(face);
  const first = face.corners[0];
  if (!normal || !first) return '';
  const towards: Point = [camera.eye[0] - first[0], camera.eye[1] - first[1], camera.eye[2] - first[2]];
  if (dot(normal, towards) <= 0) return '';
  const fill = rgb(lit(light, face.color, normal));
  // A thin edge of the same colour closes the seams that antialiasing leaves between neighbours.
  const area = `<path d="${outline(face.corners.map(camera.project))}" fill="${fill}" stroke="${fill}" stroke-width="0.4"/>`;
  return area + drawDecals(face, normal, camera, light);
}

/** The picture of a landmark from a view, in a light, as an SVG document. `random` places clouds and what is in the way. */
export function pictureOf(landmark: Landmark, view: View, light: Light, random: Random, hardness: number): string {
  const camera = cameraOf(view, landmark);
  const { setting } = landmark;
  const distance = (at: Point): number => Math.hypot(at[0] - camera.eye[0], at[2] - camera.eye[2]);
  const things: { distance: number; draw: () => string }[] = landmark.solids.map((solid) => ({
    distance: distance(solid.centre),
    draw: () => solid.faces.map((face) => drawFace(face, camera, light)).join(''),
  }));
  for (const { x, z, height, pointed } of setting.trees) {
    const at: Point = [x, 0, z];
    things.push({ distance: distance(at), draw: () => tree(at, height, pointed, camera, light) });
  }
  const body = [
    skyOf(view, light, random),
    backdropOf(setting, view, camera, light),
    groundOf(setting, view, camera, light),
    // Far things first; things at one place (a roof and its walls) keep their order, for the sort is stable.
    ...things.toSorted((a, b) => b.distance - a.distance).map((thing) => thing.draw()),
    obstaclesOf(view, light, random, hardness),
  ];
  return svg(view.width, view.height, body.join(''));
}
