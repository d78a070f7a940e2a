/**
 * Queries of addresses as people write them: `?state=failed&state=running&q=mini`. A repeated key is a list; every value is a text,
 * which the route's schema turns into what it needs.
 */
export function parseSearch(text: string): Record<string, string | string[]> {
  const search: Record<string, string | string[]> = {};
  const parameters = new URLSearchParams(text);
  for (const key of new Set(parameters.keys())) {
    const [first = '', ...more] = parameters.getAll(key);
    search[key] = more.length === 0 ? first : [first, ...more];
  }
  return search;
}

/** The reverse of {@link parseSearch}. What is undefined or an empty list is left out. */
export function stringifySearch(search: Record<string, unknown>): string {
  const parameters = new URLSearchParams();
  for (const [key, value] of Object.entries(search)) {
    for (const one of Array.isArray(value) ? value : [value]) {
      if (one !== undefined && one !== null) parameters.append(key, String(one));
    }
  }
  const text = parameters.toString();
  return text === '' ? '' : `?${text}`;
}
