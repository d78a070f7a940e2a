/** How large a JSON body may be in its structure; its bytes are limited before it is parsed. */
export type JsonBounds = {
  /** Objects, arrays, texts, numbers and the like in all of it. */
  values: number;
  /** Objects and arrays inside each other. */
  depth: number;
};

/**
 * What is too large in the structure of a parsed body, or null. It is looked at before the schema is: a schema names every fault, and of a
 * megabyte of short keys that takes seconds.
 */
export function structureFault(body: unknown, { values, depth }: JsonBounds): string | null {
  let count = 1;
  let level: object[] = isParent(body) ? [body] : [];
  for (let deep = 1; level.length > 0; deep += 1) {
    if (deep > depth) return `its objects and arrays are inside each other more than ${depth} deep`;
    const next: object[] = [];
    for (const parent of level) {
      const children: unknown[] = Array.isArray(parent) ? parent : Object.values(parent);
      count += children.length;
      if (count > values) return `it has more than ${values} values`;
      for (const child of children) if (isParent(child)) next.push(child);
    }
    level = next;
  }
  return null;
}

const isParent = (value: unknown): value is object => typeof value === 'object' && value !== null;
