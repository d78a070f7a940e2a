import { ownValue, unwrapped } from '@cairn/contract';
import { z } from 'zod';

type Schema = z.core.$ZodType;

/**
 * The schema that stands at a path of another: through objects, records and arrays, and through defaults and the like. Null
 * where the path leads nowhere.
 */
export function schemaAt(schema: Schema, path: readonly PropertyKey[]): Schema | null {
  let at: Schema | null = unwrapped(schema);
  for (const key of path) {
    if (at instanceof z.ZodObject) at = ownValue<Schema>(at.shape, String(key)) ?? null;
    else if (at instanceof z.ZodRecord) at = at.valueType;
    else if (at instanceof z.ZodArray) at = at.element;
    else return null;
    if (at === null) return null;
    at = unwrapped(at);
  }
  return at;
}

/** The keys that an object's schema knows; none for anything else. */
export function keysOf(schema: Schema | null): string[] {
  return schema instanceof z.ZodObject ? Object.keys(schema.shape) : [];
}

/** The texts that a schema names as allowed; a union may allow others besides. */
export function choicesOf(schema: Schema | null): string[] {
  if (schema instanceof z.ZodUnion) return schema.options.flatMap((option) => choicesOf(option));
  return schema instanceof z.ZodEnum ? schema.options.map(String) : [];
}
