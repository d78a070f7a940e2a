/**
 * JSON with sorted keys and without spaces, so that equal values have equal text (the form of RFC 8785). Keys whose
 * value is `undefined` are left out, as in JSON.stringify; what JSON cannot carry (NaN, Infinity, bigint, functions,
 * `undefined` in an array) throws a TypeError that names its path, because a digest over `null` in its place would lie.
 */
export function canonicalJson(value: unknown): string {
  return write(value, '$');
}

function write(value: unknown, path: string): string {
  switch (typeof value) {
    case 'string':
    case 'boolean':
      return JSON.stringify(value);
    case 'number':
      if (!Number.isFinite(value)) throw new TypeError(`${path} is ${value}, which JSON cannot carry`);
      return JSON.stringify(value);
    case 'object':
      break;
    default:
      throw new TypeError(`${path} is of type ${typeof value}, which JSON cannot carry`);
  }
  if (value === null) return 'null';
  if (Array.isArray(value)) return `[${value.map((item, index) => write(item, `${path}[${index}]`)).join(',')}]`;
  if ('toJSON' in value && typeof value.toJSON === 'function') return write(value.toJSON(), path);
  const entries = Object.entries(value).filter(([, item]) => item !== undefined);
  // Sorted by UTF-16 code units, as RFC 8785 section 3.2.3 asks: the plain comparison, not a locale's.
  entries.sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
  return `{${entries.map(([key, item]) => `${JSON.stringify(key)}:${write(item, `${path}.${key}`)}`).join(',')}}`;
}
