import { z } from 'zod';
import { CairnError } from './errors.ts';

/**
 * The parts of a setting's path such as `stages.512_all.epochs`. A name with a dot in it stands in double quotes:
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
        `"${path}" is not the path of a setting: names are separated by single dots, and one with a dot in it stands in double quotes, ` +
          'as in stages."v1.5".epochs',
        { details: { setting: path } },
      );
    parts.push(name);
  }
  return parts;
}

/** The path of a setting as it is written: {@link settingPath} gives its parts. */
export function settingPathText(parts: readonly PropertyKey[]): string {
  return parts.map((part) => (String(part).includes('.') ? `"${String(part)}"` : String(part))).join('.');
}

/** The value of a record's own key; undefined for what it has not, `constructor` and `toString` among them. */
export function ownValue<T>(record: Readonly<Record<string, T>>, key: string): T | undefined {
  return Object.hasOwn(record, key) ? record[key] : undefined;
}

/** The schema itself, without the defaults and the like that are wrapped around it. */
export function unwrapped(schema: z.core.$ZodType): z.core.$ZodType {
  const isWrapper =
    schema instanceof z.ZodDefault || schema instanceof z.ZodPrefault || schema instanceof z.ZodOptional || schema instanceof z.ZodNullable;
  return isWrapper ? unwrapped(schema.unwrap()) : schema;
}
