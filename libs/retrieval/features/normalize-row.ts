import { CairnError } from '@cairn/contract';
import { valueOfHalf } from './npy.ts';

/**
 * Writes a feature vector at unit length (L2), as float16, to `out`. The length is computed in float64 and each value is rounded once, to
 * nearest, ties to even; values below 2^-14 become subnormal. Returns false and leaves `out` unchanged for a vector that is zero or has a
 * non-finite value.
 */
export function normalizeRow(features: Float32Array, out: Float16Array): boolean {
  let squares = 0;
  for (const value of features) squares += value * value;
  if (!(squares > 0) || !Number.isFinite(squares)) return false;
  const length = Math.sqrt(squares);
  for (let index = 0; index < features.length; index++) out[index] = (features[index] as number) / length;
  return true;
}

/** Tolerance of the length of a vector: float16 rounds it by less than 0.001. */
const LENGTH_TOLERANCE = 0.01;

/** `values` are float32, or the bits of float16. Throws `bad_row`, with the name of the row, for a vector whose length is not one: one of zeros, with NaN, or that was never normalised. */
export function assertUnitRows(values: Float32Array | Uint16Array, dim: number, nameOf: (row: number) => string): void {
  for (let row = 0; row < values.length / dim; row++) {
    let squares = 0;
    const [from, to] = [row * dim, (row + 1) * dim];
    if (values instanceof Uint16Array) {
      for (let index = from; index < to; index++) squares += (valueOfHalf[values[index] as number] as number) ** 2;
    } else {
      for (let index = from; index < to; index++) squares += (values[index] as number) ** 2;
    }
    if (Math.abs(squares - 1) < 2 * LENGTH_TOLERANCE) continue;
    const fault = Number.isFinite(squares)
      ? squares === 0
        ? 'is zero'
        : `has the length ${Math.sqrt(squares).toPrecision(3)}, not 1`
      : 'has a value that is not a finite number';
    throw new CairnError('bad_row', `${nameOf(row)} ${fault}`, {
      details: { remedy: 'Extract the features again, or remove the image.' },
    });
  }
}
