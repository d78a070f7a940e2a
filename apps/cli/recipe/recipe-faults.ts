import { type ErrorCode, ownValue, recipe, settingPathText, unwrapped } from '@cairn/contract';
import { didYouMean, nearestName } from '@cairn/runtime';
import { type Document, isAlias, isMap, isNode, isScalar, isSeq, type Pair, visit } from 'yaml';
import { z } from 'zod';

/** One error in a recipe, and the position of its text. */
export type RecipeFault = {
  code: ErrorCode;
  /** Path of the setting, such as `stages.384.epochs`; empty for the whole. */
  path: string;
  /** One sentence, without the position. */
  message: string;
  nearest: string | null;
  /** For an unknown name: the path of the setting that was most likely meant. */
  meant: string | null;
  /** True when a required setting is missing. */
  isMissing: boolean;
  /** Characters of the text: from, to. */
  range: [number, number];
};

type Issue = z.core.$ZodIssue;
type Path = readonly PropertyKey[];

/** Names `__proto__`, which the schema ignores. */
export function protoFaults(document: Document): RecipeFault[] {
  const faults: RecipeFault[] = [];
  visit(document, {
    Pair: (_, { key }) => {
      if (!isScalar(key) || key.value !== '__proto__') return;
      const [path, message] = ['__proto__', '"__proto__" cannot be a name'];
      faults.push({ code: 'invalid_setting', path, message, nearest: null, meant: null, isMissing: false, range: rangeOf(key) ?? [0, 0] });
    },
  });
  return faults;
}

/** The schema's errors, in terms of the recipe, each with its position in the YAML. In the order of the text. */
export function recipeFaults(issues: readonly Issue[], document: Document): RecipeFault[] {
  const faults = issues.flatMap((issue) => faultsOf(issue, document)).toSorted((a, b) => a.range[0] - b.range[0]);
  // A misspelt name is one error, not two: the correct one is missing only because of it.
  const meant = new Set(faults.map(({ meant }) => meant));
  return faults.filter(({ code, path, isMissing }) => code === 'unknown_setting' || !isMissing || !meant.has(path));
}

function faultsOf(issue: Issue, document: Document): RecipeFault[] {
  if (issue.code === 'unrecognized_keys') {
    const known = keysOf(schemaAt(recipe, issue.path));
    return issue.keys.map((key) => {
      const nearest = nearestName(key, known);
      const where = issue.path.length === 0 ? 'a recipe' : settingPathText(issue.path);
      return {
        code: 'unknown_setting',
        path: settingPathText([...issue.path, key]),
        message: `${where} has no setting "${key}"${didYouMean(nearest)}`,
        nearest,
        meant: nearest === null ? null : settingPathText([...issue.path, nearest]),
        isMissing: false,
        range: keyRange(document, issue.path, key),
      };
    });
  }
  const node = nodeAt(document, issue.path);
  const value = scalarOf(node);
  const nearest = typeof value === 'string' ? nearestName(value, choicesOf(schemaAt(recipe, issue.path))) : null;
  const isMissing = node === undefined && issue.path.length > 0;
  const text = isMissing ? missingText(issue.path) : `${settingPathText(issue.path) || 'the recipe'} ${wrongText(issue, value)}`;
  return [
    {
      code: 'invalid_setting',
      path: settingPathText(issue.path),
      message: text + didYouMean(nearest),
      nearest,
      meant: null,
      isMissing,
      range:
        issue.code === 'invalid_key' ? keyRange(document, issue.path.slice(0, -1), issue.path.at(-1)) : valueRange(document, issue.path),
    },
  ];
}

function missingText(path: Path): string {
  const where = path.length === 1 ? 'the recipe' : settingPathText(path.slice(0, -1));
  const description = descriptionAt(path);
  return `${where} lacks "${String(path.at(-1))}"${description === null ? '' : ` (${description})`}`;
}

function descriptionAt(path: Path): string | null {
  const schema = schemaAt(recipe, path);
  const text = schema instanceof z.ZodType ? schema.meta()?.description : undefined;
  return text === undefined ? null : text.replace(/\.$/, '');
}

function wrongText(issue: Issue, value: unknown): string {
  switch (issue.code) {
    case 'invalid_type': {
      const quoting = issue.expected === 'string' && typeof value === 'number' ? `; put it in quotes: "${value}"` : '';
      return `is ${shown(value)}, not ${aKindOf(issue.expected)}${quoting}`;
    }
    case 'invalid_value':
      return `is ${shown(value)}; use one of ${issue.values.map(String).join(', ')}`;
    case 'too_small':
      return `is ${shown(value)}; it must be ${issue.inclusive === false ? 'more than' : 'at least'} ${issue.minimum}`;
    case 'too_big':
      return `is ${shown(value)}; it must be ${issue.inclusive === false ? 'less than' : 'at most'} ${issue.maximum}`;
    case 'invalid_key':
      return `is not a valid name: ${issue.issues[0]?.message ?? issue.message}`;
    case 'invalid_union':
      return typeof value === 'number'
        ? `is ${value}, a number; put it in quotes: "${value}"`
        : `is ${shown(value)}: ${innerMessage(issue)}`;
    default:
      return `is ${shown(value)}: ${issue.message}`;
  }
}

/** The message of a union's last member: the general one, after the literals. */
function innerMessage(issue: z.core.$ZodIssueInvalidUnion): string {
  return issue.errors.at(-1)?.[0]?.message ?? issue.message;
}

function aKindOf(expected: string): string {
  const names: Record<string, string> = { int: 'a whole number', string: 'a text', array: 'a list', object: 'a map', record: 'a map' };
  return names[expected] ?? `a ${expected}`;
}

function shown(value: unknown): string {
  if (value === null || value === undefined) return 'empty';
  if (isMap(value)) return 'a map';
  if (isNode(value)) return 'a list';
  return JSON.stringify(value);
}

/** The position of the value at a path, or of the nearest part around it that the text has. */
function valueRange(document: Document, path: Path): [number, number] {
  const own = rangeOf(nodeAt(document, path));
  if (own !== null) return own;
  // A missing value is shown at the key of the map that lacks it.
  for (let length = path.length - 1; length > 0; length -= 1) {
    const pair = pairAt(document, path.slice(0, length - 1), path[length - 1]);
    const range = pair === null ? null : rangeOf(pair.key);
    if (range !== null) return range;
  }
  return rangeOf(document.contents) ?? [0, 0];
}

function keyRange(document: Document, path: Path, key: PropertyKey | undefined): [number, number] {
  const pair = pairAt(document, path, key);
  return (pair === null ? null : rangeOf(pair.key)) ?? valueRange(document, path);
}

function pairAt(document: Document, path: Path, key: PropertyKey | undefined): Pair | null {
  const map = nodeAt(document, path);
  if (!isMap(map)) return null;
  // The key 384 is a number in YAML and a text in the recipe.
  return map.items.find((pair) => isScalar(pair.key) && String(pair.key.value) === String(key)) ?? null;
}

/** The node at a path; undefined where the text has none (a merged key's is elsewhere). */
function nodeAt(document: Document, path: Path): unknown {
  const resolved = (node: unknown): unknown => (isAlias(node) ? node.resolve(document) : node);
  let at: unknown = resolved(document.contents);
  for (const key of path) {
    if (isMap(at)) at = resolved(at.items.find((pair) => isScalar(pair.key) && String(pair.key.value) === String(key))?.value);
    else if (isSeq(at)) at = resolved(at.items[Number(key)]);
    else return undefined;
  }
  return at ?? undefined;
}

/** The value of a scalar, or the node itself. */
function scalarOf(node: unknown): unknown {
  return isScalar(node) ? node.value : node;
}

function rangeOf(node: unknown): [number, number] | null {
  return isNode(node) && node.range ? [node.range[0], node.range[1]] : null;
}

type Schema = z.core.$ZodType;

/**
 * The schema at a path of another: through objects, records and arrays, and through defaults and the like. Null
 * where the path leads nowhere.
 */
function schemaAt(schema: Schema, path: readonly PropertyKey[]): Schema | null {
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

/** The keys of an object's schema; none for anything else. */
function keysOf(schema: Schema | null): string[] {
  return schema instanceof z.ZodObject ? Object.keys(schema.shape) : [];
}

/** The texts that a schema lists as allowed; a union may allow others too. */
function choicesOf(schema: Schema | null): string[] {
  if (schema instanceof z.ZodUnion) return schema.options.flatMap((option) => choicesOf(option));
  return schema instanceof z.ZodEnum ? schema.options.map(String) : [];
}
