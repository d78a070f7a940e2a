import { declaresSetting, recipe as recipeSchema, settingPath, settingPathText } from '@cairn/contract';
import { type Document, isMap, isScalar, parse, parseDocument, stringify } from 'yaml';
import { z } from 'zod';

/** A map of YAML, or a part of a recipe. */
export const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

export type SettingFault = { path: string; message: string };

const yamlOptions = { merge: true, prettyErrors: true } as const;
const printOptions = { lineWidth: 0 } as const;

/** The value that the text of a recipe says, or what keeps it from being YAML. */
export function readYaml(text: string): { value: unknown } | { fault: string } {
  try {
    const document = parseDocument(text, yamlOptions);
    const [error] = document.errors;
    if (error !== undefined) return { fault: error.message.split('\n')[0] ?? error.message };
    return { value: document.toJS({ maxAliasCount: 100 }) };
  } catch (error) {
    // Lists that are nested very deeply, and aliases that refer to themselves.
    return { fault: error instanceof Error ? error.message : String(error) };
  }
}

/** What the recipe's schema finds wrong with a value, each with the setting's path. */
export function faultsOf(value: unknown): SettingFault[] {
  const parsed = recipeSchema.safeParse(value);
  return parsed.success ? [] : faultsOfError(parsed.error);
}
const faultsOfError = (error: z.ZodError): SettingFault[] =>
  error.issues.slice(0, 20).map(({ path, message }) => ({ path: settingPathText(path), message }));

/** The text with one setting changed; comments and the order of what is there stay. */
export function withSetting(text: string, path: readonly string[], value: unknown): string {
  const document = parseDocument(text, yamlOptions);
  try {
    document.setIn(keysIn(document, path), value);
    return document.toString(printOptions);
  } catch {
    // It is in an alias, or where the text has a single value: the text is written again, without its comments.
    const whole: unknown = document.toJS({ maxAliasCount: 100 });
    return stringify(changedCopy(whole, path, value), printOptions);
  }
}

/** The text without a setting, so that its default counts. */
export function withoutSetting(text: string, path: readonly string[]): string {
  const document = parseDocument(text, yamlOptions);
  document.deleteIn(keysIn(document, path));
  return document.toString(printOptions);
}

/** The path by the keys of the document: `384:` is a number in YAML and the name `384` in a recipe. */
function keysIn(document: Document, path: readonly string[]): unknown[] {
  let node: unknown = document.contents;
  return path.map((part) => {
    const pair = isMap(node) ? node.items.find(({ key }) => String(isScalar(key) ? key.value : key) === part) : undefined;
    node = pair?.value;
    return pair === undefined ? part : pair.key;
  });
}

function changedCopy(whole: unknown, [part, ...rest]: readonly string[], value: unknown): unknown {
  if (part === undefined) return value;
  const record = isRecord(whole) ? whole : {};
  return { ...record, [part]: changedCopy(record[part], rest, value) };
}

/** The value at a path; undefined where there is none. */
export const valueAt = (whole: unknown, path: readonly string[]): unknown =>
  path.reduce<unknown>((value, part) => (isRecord(value) && Object.hasOwn(value, part) ? value[part] : undefined), whole);

/** The most overrides that the service takes. */
const maxOverrides = 500;

/**
 * The settings that make `base` into `value`, by path; null where overrides cannot: they add and remove no stages, steps or models.
 */
export function overridesOf(base: unknown, value: unknown): Record<string, unknown> | null {
  const found = new Map<string, unknown>();
  const compare = (before: unknown, after: unknown, path: readonly string[]): boolean => {
    if (!isRecord(before) || !isRecord(after)) {
      if (sameValue(before, after)) return true;
      if (after === undefined || path.length === 0 || (path.length === 1 && path[0] === 'name')) return false;
      if (before === undefined && !declaresSetting(recipeSchema, path)) return false;
      found.set(settingPathText(path), after);
      return true;
    }
    return [...new Set([...Object.keys(before), ...Object.keys(after)])].every((key) =>
      compare(valueAt(before, [key]), valueAt(after, [key]), [...path, key]),
    );
  };
  return compare(base, value, []) && found.size <= maxOverrides ? Object.fromEntries(found) : null;
}

export const sameValue = (a: unknown, b: unknown): boolean => JSON.stringify(a) === JSON.stringify(b);

/** A value as `--set` takes it: a text that YAML would read as something else is in quotes. */
export function valueText(value: unknown): string {
  if (typeof value !== 'string') return JSON.stringify(value) ?? '';
  const isPlain = value !== '' && !value.includes('\n') && parsedOr(value, undefined) === value;
  return isPlain ? value : JSON.stringify(value);
}

const parsedOr = <T>(text: string, otherwise: T): unknown => {
  try {
    return parse(text);
  } catch {
    return otherwise;
  }
};

/** `stages.384.epochs=2`, as `--set` takes it. */
export const assignmentsOf = (set: Readonly<Record<string, unknown>>): string[] =>
  Object.entries(set).map(([path, value]) => `${path}=${valueText(value)}`);

/** The reverse of {@link assignmentsOf}; what cannot be read is left out. */
export function settingsOf(assignments: readonly string[]): { path: string[]; value: unknown }[] {
  return assignments.flatMap((assignment) => {
    const at = assignment.indexOf('=');
    try {
      return at < 1 ? [] : [{ path: settingPath(assignment.slice(0, at)), value: parse(assignment.slice(at + 1)) }];
    } catch {
      return [];
    }
  });
}

/**
 * What a person means by a text in the field of a setting: the reading that its schema takes. `384` is a number for `epochs` and the name
 * of a stage for `from`. Where the schema takes none, the value that YAML reads, for which the recipe's check says what is wrong.
 */
export function typedValue(schema: z.core.$ZodType, text: string): unknown {
  const read = parsedOr(text, text) ?? null;
  const isValid = (value: unknown): boolean => z.safeParse(schema, value).success;
  return [read, text].find(isValid) ?? read;
}
