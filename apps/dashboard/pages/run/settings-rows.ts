import { ownValue, type StepKind, settingPathText, stepSettings, unwrapped } from '@cairn/contract';
import { z } from 'zod';

export type SettingRow = { step: string; path: string; value: string; isDefault: boolean };

type StepWithSettings = { name: string; kind: StepKind; settings: Readonly<Record<string, unknown>> };

/** The settings of steps, one row a value: `augment.crop` of `{augment: {crop: 0.8}}`. A list is one value. Of a step, defaults come last. */
export function settingRows(steps: readonly StepWithSettings[]): SettingRow[] {
  return steps.flatMap(({ name, kind, settings }) =>
    leaves(settings, [])
      .map(([path, value]) => ({
        step: name,
        path: settingPathText(path),
        value: shownValue(value),
        isDefault: JSON.stringify(defaultAt(stepSettings[kind], path)) === JSON.stringify(value),
      }))
      .toSorted((a, b) => Number(a.isDefault) - Number(b.isDefault)),
  );
}

function leaves(value: unknown, path: readonly string[]): [readonly string[], unknown][] {
  if (typeof value !== 'object' || value === null || Array.isArray(value) || (Object.keys(value).length === 0 && path.length > 0)) {
    return [[path, value]];
  }
  return Object.entries(value).flatMap(([key, part]) => leaves(part, [...path, key]));
}

/** A value as YAML and the command line take it. */
export const shownValue = (value: unknown): string => (typeof value === 'string' ? value : (JSON.stringify(value) ?? 'none'));

/** The value that a schema has for a setting that is not given; undefined where there is none. */
function defaultAt(schema: z.core.$ZodType, path: readonly string[]): unknown {
  const [key, ...rest] = path;
  const given = schema instanceof z.ZodDefault || schema instanceof z.ZodPrefault ? schema.def.defaultValue : undefined;
  if (key === undefined) return given;
  const inner = unwrapped(schema);
  const part = inner instanceof z.ZodObject ? ownValue<z.core.$ZodType>(inner.shape, key) : undefined;
  const own = part === undefined ? undefined : defaultAt(part, rest);
  if (own !== undefined || given === undefined) return own;
  // The default of the whole object, such as `{}` or `{crop: 0.8}`.
  return path.reduce<unknown>((value, name) => (typeof value === 'object' && value !== null ? Reflect.get(value, name) : undefined), given);
}
