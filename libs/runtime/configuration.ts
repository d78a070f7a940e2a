import { readFile } from 'node:fs/promises';
import { isAbsolute } from 'node:path';
import { CairnError, datasetUrlFault } from '@cairn/contract';
import { distance } from 'fastest-levenshtein';
import { z } from 'zod';

type Fault = { variable: string; problem: string; example: string | undefined };

/**
 * Reads a program's configuration: one schema of environment variables, each parsed from text (`z.coerce.number()`,
 * `z.stringbool()`). An empty variable counts as absent.
 * @throws CairnError `invalid_configuration` that reports all errors at once: the variable, the problem, an example.
 */
export function readConfiguration<Schema extends z.ZodObject>(schema: Schema, env: Record<string, string | undefined>): z.output<Schema> {
  const names = Object.keys(schema.shape);
  const given = Object.fromEntries(names.flatMap((name) => (env[name] ? [[name, env[name]]] : [])));
  const result = schema.safeParse(given);
  if (result.success) return result.data;
  const faults = result.error.issues.flatMap((issue) => faultsOf(issue, schema, given));
  const lines = faults.map(({ variable, problem, example }) => {
    const hint = example === undefined ? '' : ` (for example ${variable}=${example})`;
    return `  ${variable} ${problem}${hint}`;
  });
  const count = lines.length === 1 ? 'an error' : `${lines.length} errors`;
  throw new CairnError('invalid_configuration', `The configuration has ${count}:\n${lines.join('\n')}`, { details: { faults } });
}

function faultsOf(issue: z.core.$ZodIssue, schema: z.ZodObject, given: Record<string, string | undefined>): Fault[] {
  const [head] = issue.path;
  if (head === undefined) return [{ variable: 'configuration', problem: issue.message, example: undefined }];
  const variable = String(head);
  const meta = metaOf(schema.shape[variable]);
  const value = given[variable];
  if (value === undefined && issue.code !== 'custom') return [{ variable, problem: missing(meta.description), example: meta.example }];
  const shown = value === undefined ? '' : meta.secret ? 'has an invalid value: ' : `is ${JSON.stringify(value)}: `;
  return [{ variable, problem: `${shown}${meta.secret ? issueKind(issue) : issue.message}`, example: meta.example }];
}

const variableMeta = z.object({
  description: z.string().optional(),
  example: z.string().optional(),
  secret: z.boolean().optional(),
});

/** Defaults and pipes wrap the schema that has the description: unwrap them. */
function metaOf(schema: z.core.$ZodType | undefined): z.output<typeof variableMeta> {
  if (schema === undefined) return {};
  const own = variableMeta.safeParse(z.globalRegistry.get(schema) ?? {}).data ?? {};
  const inner = innerOf(schema);
  return inner === undefined ? own : { ...metaOf(inner), ...own };
}

function innerOf(schema: z.core.$ZodType): z.core.$ZodType | undefined {
  if (schema instanceof z.ZodDefault || schema instanceof z.ZodPrefault || schema instanceof z.ZodOptional) return schema.unwrap();
  if (schema instanceof z.ZodPipe) return schema.in;
  return undefined;
}

function missing(description: string | undefined): string {
  return description === undefined ? 'is missing' : `is missing: ${description}`;
}

/** A message of zod may quote the value ("expected one of ..., received"): for a secret, only the kind of error is reported. */
function issueKind(issue: z.core.$ZodIssue): string {
  switch (issue.code) {
    case 'too_small':
      return `too short, at least ${issue.minimum}`;
    case 'too_big':
      return `too long, at most ${issue.maximum}`;
    case 'custom':
      return issue.message;
    default:
      return 'wrong format';
  }
}

const absolutePath = z.string().refine((path) => isAbsolute(path), 'is not an absolute path');

/** Allowed addresses of datasets: a prefix, with what its storage needs, such as `?endpoint=`. */
const allowedUrl = z
  .string()
  .refine((text) => datasetUrlFault(text.split('?')[0] ?? '') === null, 'is not an s3://, https:// or http:// address of a folder');

/** Where datasets may be: the variables of every program that reads them. */
export const datasetRootsVariables = {
  CAIRN_DATASET_ROOTS: z
    .string()
    .transform((text) => text.split(':').filter((path) => path !== ''))
    .pipe(z.array(absolutePath))
    .optional()
    .describe('the folders that may hold datasets, separated by colons; without them no dataset can be registered or read')
    .meta({ example: '/data/landmarks:/mnt/gldv2' }),
  CAIRN_DATASET_ROOTS_FILE: z
    .string()
    .min(1)
    .optional()
    .describe('a JSON file with a list of further such folders, read each time; `cairn dataset add` writes the one of an embedded service')
    .meta({ example: '/var/lib/cairn/dataset-roots.json' }),
  CAIRN_DATASET_URLS: z
    .string()
    .transform((text) => text.split(/[\s,]+/).filter((url) => url !== ''))
    .pipe(z.array(allowedUrl))
    .optional()
    .describe('the addresses that may hold datasets, separated by commas: prefixes of buckets, and folders of web servers')
    .meta({ example: 's3://landmarks/gldv2?endpoint=https://minio:9000&profile=reader,https://s3.amazonaws.com/google-landmark' }),
};

/** The content of the file of {@link datasetRootsVariables}. */
export const datasetRootsFile = z.array(z.union([absolutePath, allowedUrl]));

type Configuration = {
  CAIRN_DATASET_ROOTS?: string[] | undefined;
  CAIRN_DATASET_ROOTS_FILE?: string | undefined;
  CAIRN_DATASET_URLS?: string[] | undefined;
};

/**
 * The folders and addresses that may hold datasets now. A missing file adds none.
 *
 * @throws CairnError `invalid_configuration` where the file cannot be read
 */
export async function readDatasetRoots(configuration: Configuration): Promise<string[]> {
  const { CAIRN_DATASET_ROOTS: roots = [], CAIRN_DATASET_ROOTS_FILE: file, CAIRN_DATASET_URLS: urls = [] } = configuration;
  return [...roots, ...urls, ...(file === undefined ? [] : await readDatasetRootsFile(file))];
}

/** The folders of one such file. Throws as {@link readDatasetRoots} does. */
export async function readDatasetRootsFile(file: string): Promise<string[]> {
  try {
    return datasetRootsFile.parse(JSON.parse(await readFile(file, 'utf8')));
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return [];
    throw new CairnError('invalid_configuration', `${file} is not a JSON list of absolute paths and addresses, or cannot be read`, {
      cause: error,
    });
  }
}

/** The same variables for a child program. */
export function datasetRootsEnvironment(configuration: Configuration): Record<string, string> {
  const { CAIRN_DATASET_ROOTS: roots, CAIRN_DATASET_ROOTS_FILE: file, CAIRN_DATASET_URLS: urls } = configuration;
  return {
    ...(roots === undefined ? {} : { CAIRN_DATASET_ROOTS: roots.join(':') }),
    ...(file === undefined ? {} : { CAIRN_DATASET_ROOTS_FILE: file }),
    ...(urls === undefined ? {} : { CAIRN_DATASET_URLS: urls.join(',') }),
  };
}

/** The known name that `wrong` was most likely meant to be; null when none is close. */
export function nearestName(wrong: string, known: readonly string[]): string | null {
  const limit = Math.max(2, Math.floor(wrong.length / 3));
  const near = known
    .map((name) => ({ name, edits: distance(wrong.toLowerCase(), name.toLowerCase()) }))
    .filter(({ name, edits }) => edits <= limit || (wrong.length >= 3 && name.toLowerCase().startsWith(wrong.toLowerCase())))
    .toSorted((a, b) => a.edits - b.edits);
  return near[0]?.name ?? null;
}

/** The end of a message about an unknown name: a question about the nearest one, or nothing. */
export function didYouMean(nearest: string | null): string {
  return nearest === null ? '' : `; did you mean "${nearest}"?`;
}
