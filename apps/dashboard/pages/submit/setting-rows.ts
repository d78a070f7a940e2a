import { markOf, recipe as recipeSchema, settingPathText, unwrapped } from '@cairn/contract';
import { z } from 'zod';
import { isRecord, sameValue, valueAt } from './recipe-text.ts';

export type SettingRow = {
  path: readonly string[];
  /** As `--set` names it. */
  name: string;
  /** The part of the recipe that it belongs to, such as `stages.384`. */
  part: string;
  value: unknown;
  /** The value without the changes; undefined where it was not set. */
  base: unknown;
  isChanged: boolean;
  /** What counts if nobody sets it; undefined where there is no default. */
  defaultValue: unknown;
  description: string;
  /** False for settings that change how long a step takes, and not its result; null where the recipe's own structure is set. */
  changesResult: boolean | null;
  /** All values that it can have, where these are few. */
  options: readonly unknown[] | null;
  schema: z.core.$ZodType;
};

/** Settings that name what a step reads: its content counts, not its name, so the contract does not mark them as results. */
const namesInput = new Set(['from', 'weights']);

/** Fields of their own on the page, and what a submission cannot change. */
const apart = new Set(['name', 'description', 'dataset', 'until']);

/** The settings of a recipe, one row a value, those without a value that could have one as well. A list is one value. */
export function settingRows(value: unknown, base: unknown): SettingRow[] {
  const rows: SettingRow[] = [];
  const visit = (schema: z.core.$ZodType, at: unknown, path: readonly string[]): void => {
    const inner = optionFor(unwrapped(schema), at);
    if (isReference(unwrapped(schema))) rows.push(rowOf(schema, at, path, valueAt(base, path)));
    else if (inner instanceof z.ZodObject && isRecord(at)) {
      for (const [key, field] of Object.entries(inner.shape)) {
        if (path.length > 0 || !apart.has(key)) visit(field, valueAt(at, [key]), [...path, key]);
      }
    } else if (inner instanceof z.ZodRecord && isRecord(at)) {
      for (const key of Object.keys(at)) visit(inner.valueType, at[key], [...path, key]);
    } else if (at !== undefined || isSingle(inner)) rows.push(rowOf(schema, at, path, valueAt(base, path)));
  };
  visit(recipeSchema, value, []);
  return rows;
}

/** A setting with a single value can be given where it is absent; a whole part, such as an export, cannot. */
const isSingle = (schema: z.core.$ZodType): boolean => !(schema instanceof z.ZodObject || schema instanceof z.ZodRecord);

/** What names another thing, by a text or, where that is elsewhere, in more words, is one value. */
const isReference = (schema: z.core.$ZodType): boolean => schema instanceof z.ZodUnion && z.safeParse(schema, 'name').success;

/** Of alternatives, the one whose settings the value has. */
function optionFor(schema: z.core.$ZodType, value: unknown): z.core.$ZodType {
  if (!(schema instanceof z.ZodUnion) || !isRecord(value)) return schema;
  const has = (option: z.core.$ZodType): boolean =>
    option instanceof z.ZodObject &&
    Object.keys(value).every((key) => key in option.shape) &&
    (!(option.shape.kind instanceof z.ZodLiteral) || option.shape.kind.safeParse(value.kind).success);
  return schema.options.find(has) ?? schema;
}

function rowOf(schema: z.core.$ZodType, value: unknown, path: readonly string[], base: unknown): SettingRow {
  const field = schema instanceof z.ZodType ? schema : null;
  const mark = field === null ? null : markOf(field);
  return {
    path,
    name: settingPathText(path),
    part: settingPathText(path.slice(0, -1)),
    value,
    base,
    isChanged: !sameValue(value, base),
    defaultValue: schema instanceof z.ZodDefault || schema instanceof z.ZodPrefault ? schema.def.defaultValue : undefined,
    description: field?.meta()?.description ?? '',
    changesResult: mark === null ? null : mark === 'result' || namesInput.has(path.at(-1) ?? ''),
    options: optionsOf(schema),
    schema,
  };
}

/** The values of a choice; null for settings that take any text or number. */
function optionsOf(schema: z.core.$ZodType): readonly unknown[] | null {
  const inner = unwrapped(schema);
  const none = isNullable(schema) ? [null] : [];
  if (inner instanceof z.ZodEnum) return [...none, ...inner.options];
  return inner instanceof z.ZodBoolean ? [...none, true, false] : null;
}

function isNullable(schema: z.core.$ZodType): boolean {
  if (schema instanceof z.ZodNullable) return true;
  const isWrapper = schema instanceof z.ZodDefault || schema instanceof z.ZodPrefault || schema instanceof z.ZodOptional;
  return isWrapper && isNullable(schema.unwrap());
}
