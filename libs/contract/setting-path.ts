import { z } from 'zod';
import { CairnError } from './errors.ts';

/**
 * The parts of a setting's path such as `stages.512_all.epochs`. A name that contains a dot is in double quotes:
 * `stages."v1.5".epochs`.
 *
 * @throws CairnError `unknown_setting` for a path with an empty part or a quote that is not closed
 */
export function settingPath(path: string): string[] {
  const parts: string[] = [];
  const part = /(?:"([^"]*)"|([^."]+))(\.|$)/y;
  while (part.lastIndex < path.length) {
    const match = part.exec(path);
    const name = match?.[1] ?? match?.[2] ?? '';
    const endsInDot = match?.[3] === '.' && part.lastIndex === path.length;
    if (name === '' || endsInDot)
      throw new CairnError(
        'unknown_setting',
        `"${path}" is not a valid setting path: separate names by single dots, and put a name that contains a dot in double quotes, ` +
          'as in stages."v1.5".epochs',
        { details: { setting: path } },
      );
    parts.push(name);
  }
  return parts;
}

/** Formats the path of a setting; the inverse of {@link settingPath}. */
export function settingPathText(parts: readonly PropertyKey[]): string {
  return parts.map((part) => (String(part).includes('.') ? `"${String(part)}"` : String(part))).join('.');
}

/** The value of a record's own key; undefined for any other, including inherited ones such as `constructor` and `toString`. */
export function ownValue<T>(record: Readonly<Record<string, T>>, key: string): T | undefined {
  return Object.hasOwn(record, key) ? record[key] : undefined;
}

/** The inner schema, without wrappers such as defaults. */
export function unwrapped(schema: z.core.$ZodType): z.core.$ZodType {
  const isWrapper =
    schema instanceof z.ZodDefault || schema instanceof z.ZodPrefault || schema instanceof z.ZodOptional || schema instanceof z.ZodNullable;
  return isWrapper ? unwrapped(schema.unwrap()) : schema;
}

/** Whether `schema` declares the setting of a path, be it set or absent. Names, which are the keys of records, are not declared. */
export function declaresSetting(schema: z.core.$ZodType, [part, ...rest]: readonly string[]): boolean {
  if (part === undefined) return false;
  const inner = unwrapped(schema);
  if (inner instanceof z.ZodUnion) return inner.options.some((option) => declaresSetting(option, [part, ...rest]));
  if (inner instanceof z.ZodRecord) return declaresSetting(inner.valueType, rest);
  const field = inner instanceof z.ZodObject ? ownValue(inner.shape, part) : undefined;
  return field !== undefined && (rest.length === 0 || declaresSetting(field, rest));
}
