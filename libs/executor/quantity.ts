const factors: Readonly<Record<string, number>> = {
  n: 1e-9,
  u: 1e-6,
  m: 1e-3,
  '': 1,
  k: 1e3,
  M: 1e6,
  G: 1e9,
  T: 1e12,
  P: 1e15,
  E: 1e18,
  Ki: 2 ** 10,
  Mi: 2 ** 20,
  Gi: 2 ** 30,
  Ti: 2 ** 40,
  Pi: 2 ** 50,
  Ei: 2 ** 60,
};

/** The format of a Kubernetes quantity: `8`, `500m`, `64Gi`, `1e3`. */
export const quantityPattern = /^(\d+(?:\.\d+)?(?:[eE]\d+)?)([num]|[kMGTPE]|[KMGTPE]i)?$/;

/** A Kubernetes quantity as a number: bytes, cores or pieces. NaN if it is not one. */
export function parseQuantity(text: string): number {
  const [, digits, suffix = ''] = quantityPattern.exec(text) ?? [];
  return digits === undefined ? Number.NaN : Number(digits) * (factors[suffix] ?? Number.NaN);
}
