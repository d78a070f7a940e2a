import { request as httpRequest } from 'node:http';
import { maxBodyBytes, problem, reportedDetails, type TokenRole } from '@cairn/contract';
import { smallRecipe } from '@cairn/engine/testing';
import { newId } from '@cairn/runtime';
import { beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { openTestApi } from '../testing/test-api.ts';
import { structureFault } from './request-body.ts';

const { api, internal, harness, secrets, call } = await openTestApi();

const jsonOf = (role: TokenRole) => ({ authorization: `Bearer ${secrets[role]}`, 'content-type': 'application/json' });

type Leaf = { where: string; schema: z.core.$ZodType };

const isOfText = (schema: z.core.$ZodType): boolean => (schema instanceof z.ZodPipe ? isOfText(schema.in) : schema instanceof z.ZodString);

/** The strings and numbers of a schema, each with its path. */
function leavesOf(schema: z.core.$ZodType, where: string): Leaf[] {
  if (schema instanceof z.ZodObject)
    return Object.entries<z.core.$ZodType>(schema.shape).flatMap(([key, child]) => leavesOf(child, `${where}.${key}`));
  if (schema instanceof z.ZodRecord) return [...leavesOf(schema.keyType, `${where}{}`), ...leavesOf(schema.valueType, `${where}{}`)];
  if (schema instanceof z.ZodArray) return leavesOf(schema.element, `${where}[]`);
  if (schema instanceof z.ZodUnion) return schema.options.flatMap((option) => leavesOf(option, where));
  // Its texts are cleaned at every depth: see its own test.
  if (schema === reportedDetails) return [];
  if (schema instanceof z.ZodPipe) return isOfText(schema) ? [{ where, schema }] : leavesOf(schema.in, where);
  if (
    schema instanceof z.ZodDefault ||
    schema instanceof z.ZodPrefault ||
    schema instanceof z.ZodOptional ||
    schema instanceof z.ZodNullable
  )
    return leavesOf(schema.unwrap(), where);
  return schema instanceof z.ZodString || schema instanceof z.ZodISODateTime || schema instanceof z.ZodNumber ? [{ where, schema }] : [];
}

const leaves = [api, internal].flatMap(({ declaredRoutes }) =>
  declaredRoutes.flatMap(({ url, methods, schema }) =>
    (['params', 'querystring', 'headers', 'body'] as const).flatMap((part) => {
      const given = schema[part];
      return given instanceof z.core.$ZodType ? leavesOf(given, `${methods} ${url} ${part}`) : [];
    }),
  ),
);

describe('every input of a route', () => {
  test('that is text has a maximum, and is rejected or cleaned where PostgreSQL could not store it', () => {
    // A log's text is stored as bytes.
    const texts = leaves.filter(({ where, schema }) => !(schema instanceof z.ZodNumber) && !where.endsWith('reports body.items[].text'));
    expect(texts.length).toBeGreaterThan(40);
    const kept = texts.flatMap(({ where, schema }) =>
      ['NUL \0', 'half \ud83d', 'x'.repeat(100_000)].flatMap((text) => {
        const parsed = z.core.safeParse(schema, text);
        const isSafe = !parsed.success || (String(parsed.data).length < 10_000 && !/[\0\p{Cs}]/u.test(String(parsed.data)));
        return isSafe ? [] : [`${where} takes ${JSON.stringify(text.slice(0, 10))}`];
      }),
    );
    expect(kept).toEqual([]);
  });

  test('that is an integer fits its column', () => {
    // Sizes and offsets in bytes are bigint; seeds and what a shard read are JSON.
    const large = /\.(bytes|bytesRead|offset|seed|initSeed|testSeed)$/;
    const numbers = leaves.filter(({ where, schema }) => schema instanceof z.ZodNumber && !large.test(where));
    expect(numbers.length).toBeGreaterThan(40);
    const taken = numbers.flatMap(({ where, schema }) => {
      const isWhole = !z.core.safeParse(schema, 1.5).success;
      return isWhole && z.core.safeParse(schema, 2 ** 31).success ? [where] : [];
    });
    expect(taken).toEqual([]);
  });
});

describe('a request that PostgreSQL could not process', () => {
  let run = '';
  beforeAll(async () => {
    run = await harness.submit();
  });
  const cursor = (...key: unknown[]) => encodeURIComponent(Buffer.from(JSON.stringify(key)).toString('base64url'));

  test.each([
    'v1/runs?name=a%00',
    'v1/runs?recipe=a%00',
    'v1/runs?name=%zz',
    'v1/runs?name=%ff',
    'v1/runs?name=%ed%a0%80',
    'v1/runs?limit=1e99',
    'v1/runs?limit=',
    'v1/runs?name=a&name=b',
    'v1/runs/RUN/steps/first/metrics?names=a%00',
    'v1/runs/RUN/events?after=2147483648',
    'v1/runs/RUN/steps/%00',
    'v1/runs/%ff',
    'v1/runs/%ed%a0%80',
    'v1/datasets/a@4294967296',
    ...['runs', 'datasets', 'weights', 'models', 'audit', 'models/a'].flatMap((list) =>
      ['~', 'a%00', cursor('a\0'), cursor(2 ** 40), cursor('0000-01-01T00:00:00Z', 'a'), cursor('2026-01-01T00:00:00Z', '\ud83d')].map(
        (text) => `v1/${list}?cursor=${text}`,
      ),
    ),
  ])('GET %s is rejected as invalid', async (path) => {
    const answer = await call('admin', 'GET', `/${path.replace('RUN', run)}`);
    expect([answer.status, answer.text]).toEqual([400, expect.stringMatching(/invalid_(request|path)/)]);
  });

  const folder = (change: object) => ({
    name: 'x',
    source: { kind: 'folder', root: '/tmp', metadata: '/tmp', countries: null, ...change },
  });
  test.each<[string, string, unknown, string]>([
    ['a reason with NUL', 'runs/RUN/cancel', { reason: 'a\0' }, 'reason'],
    ['a reason with half an emoji', 'runs/RUN/cancel', { reason: '\ud83d' }, 'reason'],
    ['a step with NUL', 'runs/RUN/retry', { from: 'a\0' }, 'from'],
    ['a root with NUL', 'datasets', folder({ root: '/a\0' }), 'source.root'],
    ['a root whose name is too long', 'datasets', folder({ root: `/${'a'.repeat(300)}` }), 'source.root'],
    ['a path that is too long', 'datasets', folder({ metadata: '/a'.repeat(3000) }), 'source.metadata'],
    ['an age beyond any date', 'gc', { olderThanHours: 1e300 }, 'olderThanHours'],
    ['a number beyond any', 'runs', { recipe: 'mini', priority: 1e308 }, 'priority'],
    ['steps with NUL', 'runs', { recipe: 'mini', noReuse: ['a\0'] }, 'noReuse'],
    ['a setting with NUL', 'runs', { recipe: 'mini', set: { 'stages.a\0': 1 } }, 'set'],
    ['null', 'runs/RUN/cancel', null, 'null'],
    ['null where a value is required', 'runs', null, 'null'],
  ])('%s is rejected as invalid, with the name of the field', async (_, path, body, named) => {
    const answer = await call('admin', 'POST', `/v1/${path.replace('RUN', run)}`, { body });
    expect(answer.json).toMatchObject({ status: 400, code: 'invalid_request', detail: expect.stringContaining(named) });
  });

  test('a body that is not UTF-8 is rejected too', async () => {
    const answer = await api.inject({
      method: 'POST',
      url: `/v1/runs/${run}/cancel`,
      payload: Buffer.from('{"reason":"\xff"}', 'latin1'),
      headers: jsonOf('admin'),
    });
    expect(answer.json()).toMatchObject({ status: 400, code: 'invalid_request', detail: expect.stringContaining('UTF-8') });
  });
});

describe('a method that a path does not support', () => {
  test.each([
    ['DELETE', '/v1/runs', 'GET, POST'],
    ['PATCH', `/v1/runs/${newId('run')}`, 'GET'],
    ['HEAD', '/healthz', 'GET'],
    ['OPTIONS', '/v1/weights/a', 'DELETE, GET, PUT'],
  ] as const)('%s %s gets 405 with the allowed methods', async (method, url, allow) => {
    const answer = await api.inject({ method, url });
    expect([answer.statusCode, answer.headers.allow]).toEqual([405, allow]);
    if (method !== 'HEAD') expect(problem.parse(answer.json()).code).toBe('method_not_allowed');
  });

  test('gets 405 even when it is an uncommon one', async () => {
    const { port } = new URL(await api.listen({ host: '127.0.0.1', port: 0 }));
    const { promise, resolve, reject } = Promise.withResolvers<number | undefined>();
    httpRequest({ port, host: '127.0.0.1', method: 'QUERY', path: '/v1/runs' }, (answer) => resolve(answer.resume().statusCode))
      .on('error', reject)
      .end();
    expect(await promise).toBe(405);
  });
});

test('of many errors the first are listed, with the number of the others', async () => {
  const body = { recipe: 'mini', ...Object.fromEntries(Array.from({ length: 3_500 }, (_, index) => [`recip${index}`, 0])) };
  const { json } = await call('submitter', 'POST', '/v1/runs', { body });
  expect(json.detail).toMatch(/recip0: unknown field; did you mean "recipe"\? \(and 3499 more\)$/);
  expect(json.details.errors).toHaveLength(20);
});

describe('a body with many values', () => {
  const recipe = { name: 'x', stages: {} };
  const manyStages = (count: number) =>
    Object.fromEntries(Array.from({ length: count }, (_, index) => [`s${index}`, smallRecipe.stages.first]));
  const withText = (body: unknown): string => (typeof body === 'string' ? body : JSON.stringify(body));
  test.each<[string, unknown, RegExp?]>([
    ['unknown names', Object.fromEntries(Array.from({ length: 95_000 }, (_, index) => [`k${index}`, 0])), /more than 4000 values/],
    [
      'a few thousand unknown names',
      { recipe: 'mini', ...Object.fromEntries(Array.from({ length: 3_500 }, (_, index) => [`k${index}`, 0])) },
    ],
    ['wrong lists', { recipe: { ...recipe, prepare: { lists: Array.from({ length: 240_000 }, () => 1) } } }, /more than 4000 values/],
    ['a few thousand wrong lists', { recipe: { ...recipe, prepare: { lists: Array.from({ length: 3_500 }, () => 'x') } } }],
    ['stages', { recipe: { ...smallRecipe, stages: manyStages(33) } }, /at most 32 stages/],
    ['overrides', { recipe: 'mini', set: Object.fromEntries(Array.from({ length: 3_500 }, (_, index) => [`stages.a${index}`, 1])) }],
    ['a long name', { recipe: 'mini', ['x'.repeat(500_000)]: 1 }],
    ['a value in another', `${'{"a":'.repeat(100_000)}1${'}'.repeat(100_000)}`, /more than 16 deep/],
  ])('is rejected with a short answer: %s', async (_, body, why) => {
    const payload = withText(body);
    expect(payload.length).toBeLessThan(maxBodyBytes);
    const answer = await api.inject({ method: 'POST', url: '/v1/runs?dryRun=true', payload, headers: jsonOf('submitter') });
    expect(answer.json()).toMatchObject({ status: 400, code: expect.stringMatching(/^(invalid_request|unknown_setting)$/) });
    expect(answer.body.length).toBeLessThan(20_000);
    if (why !== undefined) expect(answer.json().detail).toMatch(why);
  });
});

const bounds = { values: 10, depth: 3 };

test.each<[string, unknown]>([
  ['the maximum number of values', { a: [1, 2, 3], b: { c: 4, d: 5 }, e: 6, f: 7 }],
  ['the maximum depth', [[[1]]]],
  ['one value', 'text'],
])('%s is accepted', (_, body) => {
  expect(structureFault(body, bounds)).toBeNull();
});

test.each<[string, unknown, string]>([
  ['one value more', { a: [1, 2, 3], b: { c: 4, d: 5 }, e: 6, f: 7, g: 8 }, 'more than 10 values'],
  ['many names', Object.fromEntries(Array.from({ length: 50 }, (_, index) => [index, 0])), 'more than 10 values'],
  ['one level more', [[[[1]]]], 'more than 3 deep'],
  ['endless nesting', JSON.parse('['.repeat(50_000) + ']'.repeat(50_000)), 'more than 3 deep'],
])('%s is rejected', (_, body, fault) => {
  expect(structureFault(body, bounds)).toContain(fault);
});
