import { CairnError, firstOf, unwrapped } from '@cairn/contract';
import { didYouMean, nearestName } from '@cairn/runtime';
import { z } from 'zod';

/** An invalid field of a request. */
export type FieldError = {
  /** Dotted path within the part; empty for the whole. */
  path: string;
  message: string;
  /** For an unknown name or value: the nearest known one. */
  nearest?: string;
};

/** Fastify's name of each part of a request, and its name for people. */
export const requestParts = { body: 'body', querystring: 'query', params: 'path', headers: 'headers' } as const;
export type RequestPart = keyof typeof requestParts;

/**
 * The errors of a part of a request, field by field, with the nearest name for an unknown one.
 *
 * @returns `invalid_path` for a name or id that would leave its folder, else `invalid_request`
 */
export function requestFault(part: RequestPart, schema: z.core.$ZodType, data: unknown, error: z.core.$ZodError): CairnError {
  // Unknown names first: a missing field is often a misspelled one.
  const faults = flatFaults(error.issues).toSorted((a, b) => Number(b.key !== null) - Number(a.key !== null));
  const errors = faults.slice(0, maxReported).map((fault) => fieldError(fault, schema, data));
  const [first] = errors;
  const detail = first === undefined ? 'invalid value' : `${first.path === '' ? '' : `${first.path}: `}${first.message}`;
  const more = faults.length > 1 ? ` (and ${faults.length - 1} more)` : '';
  const code = part === 'params' && leavesItsFolder(data) ? 'invalid_path' : 'invalid_request';
  return new CairnError(code, `The ${requestParts[part]} of the request is invalid: ${detail}${more}`, {
    details: { part: requestParts[part], errors },
    cause: error,
  });
}

/** Most errors to report; a caller with more corrects these first. */
const maxReported = 20;
/** Most characters of a name to report; no nearest name is searched for a longer one. */
const maxNameLength = 100;

/** One error: an issue, and for unknown names the key. */
type Fault = { issue: z.core.$ZodIssue; path: PropertyKey[]; key: string | null };

function flatFaults(issues: readonly z.core.$ZodIssue[], base: PropertyKey[] = []): Fault[] {
  return issues.flatMap((issue): Fault[] => {
    const path = [...base, ...issue.path];
    if (issue.code === 'unrecognized_keys') return issue.keys.map((key) => ({ issue, path, key }));
    if (issue.code === 'invalid_union' && issue.errors.length > 0) return flatFaults(bestBranch(issue.errors), path);
    return [{ issue, path, key: null }];
  });
}

function fieldError({ issue, path, key }: Fault, schema: z.core.$ZodType, data: unknown): FieldError {
  if (key !== null) return withNearest(dotted([...path, key]), 'unknown field', key, keysAt(schema, path));
  if (issue.code === 'invalid_value') {
    const value = valueAt(data, path);
    const known = issue.values.map(String);
    return withNearest(dotted(path), `expected one of ${known.join(', ')}`, typeof value === 'string' ? value : '', known);
  }
  // For an invalid name, the reason.
  const reason = issue.code === 'invalid_key' ? issue.issues[0]?.message : undefined;
  return { path: dotted(path), message: reason ?? issue.message };
}

/** The intended branch of a union: the one whose errors are deepest, not one that rejects the type of the whole. */
function bestBranch(branches: readonly (readonly z.core.$ZodIssue[])[]): readonly z.core.$ZodIssue[] {
  const depth = (issues: readonly z.core.$ZodIssue[]) =>
    issues.some((issue) => issue.path.length === 0 && issue.code === 'invalid_type')
      ? -1
      : Math.max(...issues.map((issue) => issue.path.length));
  return branches.toSorted((a, b) => depth(b) - depth(a))[0] ?? [];
}

function withNearest(path: string, message: string, given: string, known: readonly string[]): FieldError {
  const nearest = given.length > maxNameLength ? null : nearestName(given, known);
  return nearest === null ? { path, message } : { path, message: message + didYouMean(nearest), nearest };
}

/** The possible keys of an object at the path. */
function keysAt(schema: z.core.$ZodType, path: readonly PropertyKey[]): string[] {
  const found = path.reduce<z.core.$ZodType[]>((schemas, key) => schemas.flatMap((one) => childAt(one, key)), objectsIn(schema));
  return found.flatMap((one) => objectsIn(one)).flatMap((one) => (one instanceof z.ZodObject ? Object.keys(one.shape) : []));
}

function childAt(schema: z.core.$ZodType, key: PropertyKey): z.core.$ZodType[] {
  return objectsIn(schema).flatMap((one): z.core.$ZodType[] => {
    if (one instanceof z.ZodObject) {
      const child: unknown = Object.hasOwn(one.shape, String(key)) ? one.shape[String(key)] : null;
      return child instanceof z.core.$ZodType ? [child] : [];
    }
    if (one instanceof z.ZodRecord) return [one.valueType];
    if (one instanceof z.ZodArray) return [one.element];
    return [];
  });
}

/** The objects, records and arrays in a schema, without their wrappers. */
function objectsIn(wrapped: z.core.$ZodType): z.core.$ZodType[] {
  const schema = unwrapped(wrapped);
  if (schema instanceof z.ZodUnion) return schema.options.flatMap((option) => objectsIn(option));
  return schema instanceof z.ZodPipe ? objectsIn(schema.in) : [schema];
}

function valueAt(data: unknown, path: readonly PropertyKey[]): unknown {
  return path.reduce<unknown>(
    (value, key) => (typeof value === 'object' && value !== null && Object.hasOwn(value, key) ? Reflect.get(value, key) : undefined),
    data,
  );
}

const dotted = (path: readonly PropertyKey[]): string => path.map((part) => firstOf(String(part), maxNameLength)).join('.');

function leavesItsFolder(params: unknown): boolean {
  const values = typeof params === 'object' && params !== null ? Object.values(params).map(String) : [];
  // biome-ignore lint/suspicious/noControlCharactersInRegex: it searches for control characters
  return values.some((value) => /[/\\\u0000-\u001f]/.test(value) || value.startsWith('.'));
}
