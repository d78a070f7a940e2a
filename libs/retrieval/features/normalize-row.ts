/**
 * Writes a feature vector at unit length (L2), as float16, to `out`. The length is taken in float64 and each value is rounded
 * once, to the nearest and on a tie to the even one; values below 2^-14 become subnormal. Returns false, with `out` as it was,
 * for a vector that has no direction: of zeros, or with a value that is not finite.
 */
export function normalizeRow(features: Float32Array, out: Float16Array): boolean {
  let squares = 0;
  for (const value of features) squares += value * value;
  if (!(squares > 0) || !Number.isFinite(squares)) return false;
  const length = Math.sqrt(squares);
  for (let index = 0; index < features.length; index++) out[index] = (features[index] as number) / length;
  return true;
}
