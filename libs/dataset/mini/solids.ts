/**
 * The solids that the made landmarks are built of. Axes: x to the right, y up, z towards a visitor who stands in front of the
 * main face; the ground is y = 0. One unit is about half the width of a church.
 */
export type Point = readonly [x: number, y: number, z: number];
export type Rgb = readonly [red: number, green: number, blue: number];

/** Something painted on a face: a polygon in the face's own coordinates, u and v from 0 to 1, v upwards. */
export type Decal = { outline: readonly (readonly [u: number, v: number])[]; color: Rgb; lit: boolean };

/** A flat polygon; its corners run counter-clockwise seen from outside. Decals need exactly four corners. */
export type Face = { corners: readonly Point[]; color: Rgb; decals: readonly Decal[] };

/** A convex solid: its visible faces never cover one another. */
export type Solid = { faces: readonly Face[]; centre: Point };

/** A part of a facade, repeated over it. */
export type Opening = 'square' | 'arch' | 'slit' | 'round' | 'band';

const archSteps = 6;

/** The outline of an opening that fills the box (u, v)..(u + width, v + height) of a face. */
function outlineOf(opening: Opening, u: number, v: number, width: number, height: number): [number, number][] {
  if (opening === 'round') {
    return Array.from({ length: 10 }, (_, i) => {
      const angle = (i / 10) * 2 * Math.PI;
      return [u + (width / 2) * (1 + Math.cos(angle)), v + (height / 2) * (1 + Math.sin(angle))];
    });
  }
  if (opening === 'arch') {
    const spring = v + height * 0.6;
    const arc = Array.from({ length: archSteps + 1 }, (_, i): [number, number] => {
      const angle = (i / archSteps) * Math.PI;
      return [u + (width / 2) * (1 + Math.cos(angle)), spring + height * 0.4 * Math.sin(angle)];
    });
    return [[u, v], [u + width, v], ...arc];
  }
  const inset = opening === 'slit' ? width * 0.3 : 0;
  return [
    [u + inset, v],
    [u + width - inset, v],
    [u + width - inset, v + height],
    [u + inset, v + height],
  ];
}

/** One opening as a decal. */
export function decal(opening: Opening, box: { u: number; v: number; width: number; height: number }, color: Rgb, lit = false): Decal {
  return { outline: outlineOf(opening, box.u, box.v, box.width, box.height), color, lit };
}

/** `columns` x `rows` openings, evenly spread over the part of a face between v = from and v = to. */
export function openings(
  opening: Opening,
  grid: { columns: number; rows: number; from?: number; to?: number; fill?: number },
  color: Rgb,
): Decal[] {
  const { columns, rows, from = 0.08, to = 0.94, fill = 0.55 } = grid;
  const cellWidth = 0.92 / columns;
  const cellHeight = (to - from) / rows;
  const decals: Decal[] = [];
  for (let row = 0; row < rows; row++) {
    if (opening === 'band') {
      const v = from + cellHeight * (row + (1 - fill) / 2);
      decals.push(decal('square', { u: 0.04, v, width: 0.92, height: cellHeight * fill }, color, true));
      continue;
    }
    for (let column = 0; column < columns; column++) {
      const u = 0.04 + cellWidth * (column + (1 - fill) / 2);
      const v = from + cellHeight * (row + (1 - fill * 1.2) / 2);
      decals.push(decal(opening, { u, v, width: cellWidth * fill, height: cellHeight * fill * 1.2 }, color, true));
    }
  }
  return decals;
}

/** Horizontal stripes over a whole face: courses of stone, a lighthouse's bands. */
export function stripes(count: number, share: number, color: Rgb): Decal[] {
  return Array.from({ length: count }, (_, i) =>
    decal('square', { u: 0, v: (i + 0.5 - share / 2) / count, width: 1, height: share / count }, color),
  );
}

/** What a box looks like: the same for its sides unless `front` says more. */
export type Paint = { color: Rgb; sides?: readonly Decal[]; front?: readonly Decal[]; top?: Rgb };

/** An upright box on the ground point (x, y, z) of its middle. */
export function box(at: Point, size: { width: number; height: number; depth: number }, paint: Paint): Solid {
  const { width, height, depth } = size;
  const ring = rectangle(width, depth);
  return loft(at, [ring, ring], [0, height], paint);
}

/** The corners of a width x depth rectangle as a ring of (x, z), front side first. */
export function rectangle(width: number, depth: number): [number, number][] {
  const x = width / 2;
  const z = depth / 2;
  return [
    [-x, z],
    [x, z],
    [x, -z],
    [-x, -z],
  ];
}

/** A regular ring of (x, z). */
export function circle(radius: number, sides = 12): [number, number][] {
  return Array.from({ length: sides }, (_, i) => {
    const angle = (i / sides) * 2 * Math.PI;
    // Half a side of turn puts a flat side in front; z falls with the angle so that the faces look outwards.
    const turned = Math.PI / 2 + Math.PI / sides - angle;
    return [radius * Math.cos(turned), radius * Math.sin(turned)];
  });
}

/**
 * A solid whose horizontal outline is `rings[i]` at height `heights[i]` above `at`: boxes, tapered towers, cones and domes.
 * All rings have the same number of corners; the first side is the front.
 */
export function loft(
  at: Point,
  rings: readonly (readonly (readonly [number, number])[])[],
  heights: readonly number[],
  paint: Paint,
): Solid {
  const corner = (ring: number, i: number): Point => {
    const outline = rings[ring] ?? [];
    const [x, z] = outline[i % outline.length] ?? [0, 0];
    return [at[0] + x, at[1] + (heights[ring] ?? 0), at[2] + z];
  };
  const sides = rings[0]?.length ?? 0;
  const faces: Face[] = [];
  for (let ring = 0; ring + 1 < rings.length; ring++) {
    for (let side = 0; side < sides; side++) {
      const decals = side === 0 ? (paint.front ?? paint.sides ?? []) : (paint.sides ?? []);
      faces.push({
        corners: [corner(ring, side), corner(ring, side + 1), corner(ring + 1, side + 1), corner(ring + 1, side)],
        color: paint.color,
        decals,
      });
    }
  }
  const last = rings.length - 1;
  faces.push({ corners: Array.from({ length: sides }, (_, i) => corner(last, i)), color: paint.top ?? paint.color, decals: [] });
  return { faces, centre: at };
}

/** A cone, pyramid or spire: a ring that runs to a point. */
export function spire(at: Point, ring: readonly (readonly [number, number])[], height: number, paint: Paint): Solid {
  return loft(at, [ring, ring.map(([x, z]): [number, number] => [x * 0.03, z * 0.03])], [0, height], paint);
}

/** A dome of the given radius and height; `bulge` over 1 makes it onion-shaped. */
export function dome(at: Point, radius: number, height: number, bulge: number, paint: Paint): Solid {
  const levels = [0, 0.25, 0.5, 0.75, 0.93, 1];
  const rings = levels.map((level) => {
    const round = Math.sqrt(Math.max(0, 1 - level * level));
    const swell = 1 + (bulge - 1) * Math.sin(Math.PI * Math.min(1, level * 1.2));
    return circle(Math.max(radius * 0.04, radius * round * swell), 12);
  });
  return loft(
    at,
    rings,
    levels.map((level) => level * height),
    paint,
  );
}

/** A gable roof over a width x depth rectangle. Its ridge runs front to back, or from left to right when `across`. */
export function gable(
  at: Point,
  size: { width: number; height: number; depth: number; across: boolean },
  paint: Paint & { wall: Rgb },
): Solid {
  const [x, y, z] = at;
  const w = size.width / 2;
  const d = size.depth / 2;
  const top = y + size.height;
  const a: Point = [x - w, y, z + d];
  const b: Point = [x + w, y, z + d];
  const c: Point = [x + w, y, z - d];
  const e: Point = [x - w, y, z - d];
  const roof = (corners: Point[]): Face => ({ corners, color: paint.color, decals: paint.sides ?? [] });
  const end = (corners: Point[]): Face => ({ corners, color: paint.wall, decals: [] });
  if (size.across) {
    const left: Point = [x - w, top, z];
    const right: Point = [x + w, top, z];
    return { faces: [roof([a, b, right, left]), roof([c, e, left, right]), end([b, c, right]), end([e, a, left])], centre: at };
  }
  const front: Point = [x, top, z + d];
  const back: Point = [x, top, z - d];
  return { faces: [end([a, b, front]), roof([b, c, back, front]), end([c, e, back]), roof([e, a, front, back])], centre: at };
}
