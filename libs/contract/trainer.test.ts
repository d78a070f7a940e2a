import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { trainerPython } from '@cairn/testing';
import { expect, test } from 'vitest';
import { z } from 'zod';
import { localMatchingSettings } from './rerank-settings.ts';
import { exportSettings, markOf, modelSettings, trainSettings } from './settings.ts';
import { exporterConfig, trainerConfig, trainerEvent } from './trainer.ts';

const trainer = fileURLToPath(new URL('../../docker/trainer', import.meta.url));

/** The JSON that a Python program prints, with the trainer and its tests on its path. */
async function answerOf(program: string): Promise<unknown> {
  const path = `import sys; sys.path[:0] = [${JSON.stringify(trainer)}, ${JSON.stringify(`${trainer}/tests`)}]\n`;
  const { stdout } = await promisify(execFile)(trainerPython(), ['-I', '-c', path + program]);
  return JSON.parse(stdout);
}

/** The fields that the trainer's own tests require of its events, with JSON Schema's type names. */
const events = `
import json
from event_schema import _FIELDS, _NUMBER
names = {int: 'integer', str: 'string', bool: 'boolean', list: 'array', _NUMBER: 'number'}
print(json.dumps({event: {field: names[kind] for field, kind in fields.items()} for event, fields in _FIELDS.items()}))
`;

const described = z.object({
  required: z.array(z.string()),
  properties: z.record(z.string(), z.looseObject({ type: z.string().optional(), const: z.string().optional() })),
});

test("the trainer's tests require of each event what its reader requires", async () => {
  const ours = trainerEvent.options.map((option) => {
    const { properties, required } = described.parse(z.toJSONSchema(option, { io: 'input' }));
    const { event, time, ...fields } = properties;
    expect(time?.type).toBe('number');
    expect(required.toSorted()).toEqual(Object.keys(properties).toSorted());
    return [event?.const, Object.fromEntries(Object.entries(fields).map(([name, { type }]) => [name, type]))];
  });
  expect(await answerOf(events)).toEqual(Object.fromEntries(ours));
});

/** The trainer's settings: each field's type, choices, range and default, with JSON Schema's names. */
const settings = `
import dataclasses, json, types, typing
from cairn_trainer import config
from cairn_trainer.typed_json import camel_case

names = {int: 'integer', float: 'number', bool: 'boolean', str: 'string'}

def described(field, hint):
    options = typing.get_args(hint) if typing.get_origin(hint) is types.UnionType else (hint,)
    (kind,) = (option for option in options if option is not type(None))
    choices = typing.get_args(kind)
    limits = {'minimum': 'least', 'maximum': 'most', 'exclusiveMinimum': 'above'}
    ranges = {name: field.metadata[key] for name, key in limits.items() if field.metadata.get(key) is not None}
    if typing.get_origin(kind) is tuple:
        return {'type': 'array', 'items': {'type': names[choices[0]], **ranges}}
    return {
        'type': 'string' if choices else names[kind],
        **({'enum': choices} if choices else {}),
        **({'nullable': True} if type(None) in options else {}),
        **({} if field.default is dataclasses.MISSING else {'default': field.default}),
        **ranges,
    }

def fields(cls):
    hints = typing.get_type_hints(cls)
    return {camel_case(field.name): described(field, hints[field.name]) for field in dataclasses.fields(cls)}

print(json.dumps([fields(cls) for cls in (config.ModelSettings, config.TrainSettings, config.ExportSettings, config.MatchingSettings)]))
`;

const plain = z.object({
  type: z.string().optional(),
  enum: z.array(z.string()).optional(),
  minimum: z.number().optional(),
  maximum: z.number().optional(),
  exclusiveMinimum: z.number().optional(),
  default: z.unknown().optional(),
});
const property = plain.extend({ anyOf: z.array(plain).optional(), items: plain.optional() });

/** The fields of a schema in the form of the trainer's, without the limits that JSON Schema gives every integer. */
function fieldsOf(schema: z.ZodObject): Record<string, unknown> {
  // A separate registry: a schema that the api registered under a name would become a reference.
  const json = z.toJSONSchema(schema, { io: 'input', metadata: z.registry() });
  const { properties, required = [] } = z
    .object({ properties: z.record(z.string(), property), required: z.array(z.string()).optional() })
    .parse(json);
  return Object.fromEntries(
    Object.entries(properties).map(([name, { anyOf = [], ...field }]) => {
      const [option, other] = anyOf;
      // What may be absent here is None there.
      const isOptional = !required.includes(name) && field.default === undefined && field.type !== 'array';
      const none = isOptional ? { nullable: true, default: null } : {};
      const described = { ...option, ...(other?.type === 'null' ? { nullable: true } : {}), ...none, ...field };
      const isSaid = ([, value]: [string, unknown]) => value !== undefined && Math.abs(Number(value)) !== Number.MAX_SAFE_INTEGER;
      return [name, Object.fromEntries(Object.entries(described).filter(isSaid))];
    }),
  );
}

test('the trainer accepts the settings of the contract, with the same types, choices, ranges and defaults', async () => {
  // Which checkpoint a stage starts from is decided before the trainer runs; it reads the list by path, not by name.
  const { from: _from, list: _list, ...train } = fieldsOf(trainSettings);
  // The trainer finds a backbone in its own table or in timm.
  const model = { ...fieldsOf(modelSettings), backbone: { type: 'string' } };
  // How images are reordered is decided by the search.
  const { images: _images, weight: _weight, mostInliers: _mostInliers, ...matching } = fieldsOf(localMatchingSettings);
  expect(await answerOf(settings)).toEqual([model, { ...train, list: { type: 'string' } }, fieldsOf(exportSettings), matching]);
});

/** What the trainer reads of a whole configuration, without the settings that are compared above: each path with its type. */
const configurations = `
import dataclasses, json, types, typing
from cairn_trainer import PROTOCOL, config
from cairn_trainer.typed_json import camel_case

names = {int: 'integer', str: 'string'}

def paths(cls, prefix=''):
    hints = typing.get_type_hints(cls)
    for field in dataclasses.fields(cls):
        hint, path = hints[field.name], prefix + camel_case(field.name)
        options = typing.get_args(hint) if typing.get_origin(hint) is types.UnionType else (hint,)
        (kind,) = (option for option in options if option is not type(None))
        if kind in (config.TrainSettings, config.ExportSettings, config.ModelSettings):
            continue
        nested = dataclasses.is_dataclass(kind)
        yield path, ('object' if nested else names[kind]) + ('?' if len(options) > 1 else '')
        if nested:
            yield from paths(kind, path + '.')

print(json.dumps({'protocol': PROTOCOL, 'train': dict(paths(config.TrainerConfig)), 'export': dict(paths(config.ExporterConfig))}))
`;

type JsonSchema = { type?: string | undefined; properties?: Record<string, JsonSchema> | undefined; anyOf?: JsonSchema[] | undefined };
const jsonSchema: z.ZodType<JsonSchema> = z.lazy(() =>
  z.looseObject({
    type: z.string().optional(),
    properties: z.record(z.string(), jsonSchema).optional(),
    anyOf: z.array(jsonSchema).optional(),
  }),
);

/** Each path below a schema with its type, `?` where it may be null. */
function pathsOf({ properties = {} }: JsonSchema, prefix = ''): [string, string][] {
  return Object.entries(properties).flatMap(([name, field]): [string, string][] => {
    const [option = field, other] = field.anyOf ?? [];
    const path = prefix + name;
    return [[path, `${option.type}${other?.type === 'null' ? '?' : ''}`], ...pathsOf(option, `${path}.`)];
  });
}

test('the trainer reads of a configuration what the agent writes, with the same types', async () => {
  const written = (schema: z.ZodObject) =>
    Object.fromEntries(pathsOf(jsonSchema.parse(z.toJSONSchema(schema.omit({ settings: true, model: true }), { metadata: z.registry() }))));
  // The extraction reads the same description of a list, and needs its labels.
  const { 'list.labels': _, ...train } = written(trainerConfig);
  const { 'list.labels': __, ...exported } = written(exporterConfig);
  const protocol = trainerConfig.shape.protocol.value;
  expect(exporterConfig.shape.protocol.value).toBe(protocol);
  const ofProtocol = { protocol: 'integer' };
  expect(await answerOf(configurations)).toEqual({ protocol, train: { ...train, ...ofProtocol }, export: { ...exported, ...ofProtocol } });
});

const operational = `
import json
from cairn_trainer import config
from cairn_trainer.typed_json import camel_case
print(json.dumps(sorted(camel_case(name) for name in config._OPERATIONAL)))
`;

test('a stage can be resumed with changed settings exactly where the contract says that they do not change the result', async () => {
  const ours = Object.entries(trainSettings.shape).flatMap(([name, field]) => (markOf(field) === 'operational' ? [name] : []));
  // What a stage starts from is decided before the trainer runs; it still requires the same name of the weights.
  expect(await answerOf(operational)).toEqual(ours.filter((name) => name !== 'from' && name !== 'weights').toSorted());
});
