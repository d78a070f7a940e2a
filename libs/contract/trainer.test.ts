import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { trainerPython } from '@cairn/testing';
import { expect, test } from 'vitest';
import { z } from 'zod';
import { trainerEvent } from './trainer.ts';

const trainerTests = fileURLToPath(new URL('../../docker/trainer/tests', import.meta.url));

/** What the trainer's own tests hold its events to, by JSON Schema's names of types. */
const program = `
import json, sys
sys.path.insert(0, ${JSON.stringify(trainerTests)})
from event_schema import _FIELDS, _NUMBER
names = {int: 'integer', str: 'string', bool: 'boolean', list: 'array', _NUMBER: 'number'}
print(json.dumps({event: {field: names[kind] for field, kind in fields.items()} for event, fields in _FIELDS.items()}))
`;

const described = z.object({
  required: z.array(z.string()),
  properties: z.record(z.string(), z.looseObject({ type: z.string().optional(), const: z.string().optional() })),
});

test("the trainer's tests ask of each event what its reader asks", async () => {
  const { stdout } = await promisify(execFile)(trainerPython(), ['-I', '-c', program]);
  const ours = trainerEvent.options.map((option) => {
    const { properties, required } = described.parse(z.toJSONSchema(option, { io: 'input' }));
    const { event, time, ...fields } = properties;
    expect(time?.type).toBe('number');
    expect(required.toSorted()).toEqual(Object.keys(properties).toSorted());
    return [event?.const, Object.fromEntries(Object.entries(fields).map(([name, { type }]) => [name, type]))];
  });
  expect(JSON.parse(stdout)).toEqual(Object.fromEntries(ours));
});
