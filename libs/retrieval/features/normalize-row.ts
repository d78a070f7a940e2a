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
