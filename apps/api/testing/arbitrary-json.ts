import fc from 'fast-check';
import { z } from 'zod';

/** The part of JSON Schema that zod generates for a body. */
const jsonSchema = z.looseObject({
  type: z.string().optional(),
  const: z.unknown().optional(),
  enum: z.array(z.unknown()).optional(),
  pattern: z.string().optional(),
  format: z.string().optional(),
  minLength: z.number().optional(),
  maxLength: z.number().optional(),
  minimum: z.number().optional(),
  maximum: z.number().optional(),
  exclusiveMinimum: z.number().optional(),
  properties: z.record(z.string(), z.unknown()).optional(),
  required: z.array(z.string()).optional(),
  items: z.unknown().optional(),
  additionalProperties: z.unknown().optional(),
  anyOf: z.array(z.unknown()).optional(),
  oneOf: z.array(z.unknown()).optional(),
});

/** Values that no schema expects, or only at its bounds. */
const hostile = fc.constantFrom<unknown>(
  null,
  true,
  '',
  'NUL \0 in it',
  'half \ud83d',
  '\u001b[2J\u009b8m\u202e',
  '../../etc/passwd',
  '__proto__',
  'x'.repeat(70_000),
  -1,
  0.5,
  2 ** 31,
  Number.MAX_SAFE_INTEGER,
  2 ** 64,
  -1.7e308,
  [],
  {},
  JSON.parse('{"__proto__": {"polluted": 1}, "constructor": {"prototype": 1}}'),
);

/**
 * Random bodies for a schema: most are valid, including values at the bounds; the others have one or two invalid values.
 *
 * @param known values for keys whose meaningful values random generation never finds
 */
export function arbitraryJson(schema: z.ZodType, known: Readonly<Record<string, readonly unknown[]>> = {}): fc.Arbitrary<unknown> {
  return arbitraryOf(z.toJSONSchema(schema, { io: 'input', unrepresentable: 'any', reused: 'inline' }), known);
}

function arbitraryOf(given: unknown, known: Readonly<Record<string, readonly unknown[]>>): fc.Arbitrary<unknown> {
  return fc.oneof({ weight: 30, arbitrary: fitting(jsonSchema.parse(given), known) }, { weight: 1, arbitrary: hostile });
}

function fitting(schema: z.infer<typeof jsonSchema>, known: Readonly<Record<string, readonly unknown[]>>): fc.Arbitrary<unknown> {
  const branches = schema.anyOf ?? schema.oneOf;
  if (branches !== undefined) return fc.oneof(...branches.map((branch) => arbitraryOf(branch, known)));
  if (schema.const !== undefined) return fc.constant(schema.const);
  if (schema.enum !== undefined) return fc.constantFrom(...schema.enum);
  switch (schema.type) {
    case 'object':
      return object(schema, known);
    case 'array':
      return fc.array(arbitraryOf(schema.items ?? {}, known), { maxLength: 4 });
    case 'string':
      return string(schema);
    case 'integer':
    case 'number':
      return number(schema);
    case 'boolean':
      return fc.boolean();
    case 'null':
      return fc.constant(null);
    default:
      return fc.jsonValue({ maxDepth: 3 });
  }
}

function object(
  { properties = {}, required = [], additionalProperties }: z.infer<typeof jsonSchema>,
  known: Readonly<Record<string, readonly unknown[]>>,
) {
  const fields = Object.entries(properties).map(([name, child]) => {
    const values = known[name];
    const made = arbitraryOf(child, known);
    return [name, values === undefined ? made : fc.oneof({ weight: 5, arbitrary: fc.constantFrom(...values) }, made)] as const;
  });
  const own = fc.record(Object.fromEntries(fields), { requiredKeys: required });
  if (typeof additionalProperties !== 'object' || additionalProperties === null) return own;
  const others = fc.dictionary(fc.string({ maxLength: 10 }), arbitraryOf(additionalProperties, known), { maxKeys: 4 });
  return fc.tuple(own, others).map(([mine, theirs]) => ({ ...theirs, ...mine }));
}

function string({ pattern, format, minLength = 0, maxLength = 200 }: z.infer<typeof jsonSchema>): fc.Arbitrary<string> {
  if (format === 'date-time')
    return fc.date({ noInvalidDate: true, min: new Date(0), max: new Date('9999-12-31') }).map((date) => date.toISOString());
  if (pattern !== undefined && !pattern.startsWith('^[^')) return fc.stringMatching(new RegExp(pattern));
  const most = Math.max(minLength, maxLength);
  return fc.oneof(fc.string({ minLength, maxLength: Math.min(most, 200), unit: 'binary' }), fc.constant('x'.repeat(most)));
}

function number({ type, minimum, maximum, exclusiveMinimum }: z.infer<typeof jsonSchema>): fc.Arbitrary<number> {
  const min = minimum ?? (exclusiveMinimum === undefined ? undefined : exclusiveMinimum + 1);
  if (type === 'integer') {
    const [least, most] = [min ?? Number.MIN_SAFE_INTEGER, maximum ?? Number.MAX_SAFE_INTEGER];
    return fc.oneof(
      fc.integer({ min: least, max: most }),
      fc.integer({ min: least, max: Math.min(most, least + 10) }),
      fc.constantFrom(least, most),
    );
  }
  return fc.double({
    noNaN: true,
    noDefaultInfinity: true,
    ...(min === undefined ? {} : { min }),
    ...(maximum === undefined ? {} : { max: maximum }),
  });
}
