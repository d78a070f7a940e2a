import { CairnError } from '@cairn/contract';
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
