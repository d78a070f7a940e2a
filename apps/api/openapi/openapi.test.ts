import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { problem } from '@cairn/contract';
import { expect, test } from 'vitest';
import { z } from 'zod';
import { openTestApi } from '../testing/test-api.ts';
import { answerExamples, components, problemExample, requestExamples } from './components.ts';
import { openApiDocument } from './document.ts';

const { call } = await openTestApi();
const answer = await call(null, 'GET', '/openapi.json');
const document = openApiDocument.parse(answer.json);
const operations = Object.entries(document.paths).flatMap(([path, methods]) =>
  Object.entries(methods).map(([method, operation]) => ({ tags: undefined, summary: undefined, ...operation, path, method })),
);

test('the document is OpenAPI 3.1 with every call of the contract', () => {
  expect(document).toMatchObject({
    openapi: '3.1.0',
    security: [{ token: [] }, { session: [] }],
    components: { securitySchemes: { token: { scheme: 'bearer' }, session: { in: 'cookie', name: 'cairn_session' } } },
  });
  expect(operations.map(({ method, path }) => `${method.toUpperCase()} ${path}`).toSorted()).toEqual([
    'DELETE /v1/budgets/{scope}',
    'DELETE /v1/code-hosts/{name}',
    'DELETE /v1/models/{name}/aliases/{alias}',
    'DELETE /v1/runs/{id}/pin',
    'DELETE /v1/schedules/{name}',
    'DELETE /v1/session',
    'DELETE /v1/tokens/{id}',
    'DELETE /v1/triggers/{name}',
    'DELETE /v1/views/{name}',
    'DELETE /v1/webhooks/{name}',
    'DELETE /v1/weights/{name}',
    'GET /healthz',
    'GET /metrics',
    'GET /readyz',
    'GET /v1/artifacts/{id}',
    'GET /v1/artifacts/{id}/files/{file}',
    'GET /v1/attempts/{id}',
    'GET /v1/attempts/{id}/logs',
    'GET /v1/attempts/{id}/logs/lines',
    'GET /v1/attempts/{id}/logs/search',
    'GET /v1/attempts/{id}/tensorboard',
    'GET /v1/attempts/{id}/tensorboard/{name}',
    'GET /v1/attention',
    'GET /v1/audit',
    'GET /v1/budgets',
    'GET /v1/code-hosts',
    'GET /v1/code-hosts/{name}',
    'GET /v1/code-hosts/{name}/deliveries',
    'GET /v1/comparison',
    'GET /v1/datasets',
    'GET /v1/datasets/{name}',
    'GET /v1/datasets/{name}/images/{id}',
    'GET /v1/datasets/{name}/usage',
    'GET /v1/evaluation',
    'GET /v1/evaluation/distribution',
    'GET /v1/evaluation/lineage',
    'GET /v1/evaluation/neighbours',
    'GET /v1/evaluation/queries',
    'GET /v1/events',
    'GET /v1/fleet',
    'GET /v1/fleet/work',
    'GET /v1/gate',
    'GET /v1/ledger',
    'GET /v1/me',
    'GET /v1/models',
    'GET /v1/models/{name}',
    'GET /v1/models/{name}/aliases',
    'GET /v1/models/{name}/aliases/{alias}/moves',
    'GET /v1/models/{name}/card',
    'GET /v1/models/{name}/card.md',
    'GET /v1/models/{name}/lineage',
    'GET /v1/recipes',
    'GET /v1/recipes/{name}',
    'GET /v1/retention',
    'GET /v1/runs',
    'GET /v1/runs/comparison',
    'GET /v1/runs/{id}',
    'GET /v1/runs/{id}/events',
    'GET /v1/runs/{id}/judgements',
    'GET /v1/runs/{id}/lineage',
    'GET /v1/runs/{id}/steps/{name}',
    'GET /v1/runs/{id}/steps/{name}/attempts',
    'GET /v1/runs/{id}/steps/{name}/checkpoints',
    'GET /v1/runs/{id}/steps/{name}/metrics',
    'GET /v1/runs/{id}/steps/{name}/rejected',
    'GET /v1/runs/{id}/steps/{name}/shards',
    'GET /v1/runs/{id}/steps/{name}/shards/grid',
    'GET /v1/runs/{id}/timeline',
    'GET /v1/schedules',
    'GET /v1/schedules/{name}',
    'GET /v1/secrets',
    'GET /v1/tokens',
    'GET /v1/triggers',
    'GET /v1/triggers/{name}',
    'GET /v1/triggers/{name}/deliveries',
    'GET /v1/views',
    'GET /v1/webhooks',
    'GET /v1/webhooks/{name}',
    'GET /v1/webhooks/{name}/deliveries',
    'GET /v1/webhooks/{name}/deliveries/{delivery}',
    'GET /v1/weights',
    'GET /v1/weights/{name}',
    'POST /v1/code-hosts',
    'POST /v1/datasets',
    'POST /v1/gate/baseline',
    'POST /v1/gc',
    'POST /v1/hooks/{trigger}',
    'POST /v1/models/{name}/aliases/{alias}/rollback',
    'POST /v1/runs',
    'POST /v1/runs/{id}/annotate',
    'POST /v1/runs/{id}/cancel',
    'POST /v1/runs/{id}/gate',
    'POST /v1/runs/{id}/release',
    'POST /v1/runs/{id}/retry',
    'POST /v1/schedules',
    'POST /v1/schedules/{name}/pause',
    'POST /v1/schedules/{name}/resume',
    'POST /v1/schedules/{name}/run',
    'POST /v1/search',
    'POST /v1/secrets/reseal',
    'POST /v1/session',
    'POST /v1/tokens',
    'POST /v1/triggers',
    'POST /v1/triggers/{name}/deliveries/{id}/release',
    'POST /v1/triggers/{name}/rotate',
    'POST /v1/webhooks',
    'POST /v1/webhooks/{name}/deliveries/{delivery}/resend',
    'POST /v1/webhooks/{name}/rotate',
    'POST /v1/webhooks/{name}/test',
    'PUT /v1/budgets/{scope}',
    'PUT /v1/code-hosts/{name}/token',
    'PUT /v1/models/{name}/aliases/{alias}',
    'PUT /v1/retention',
    'PUT /v1/runs/{id}/pin',
    'PUT /v1/views/{name}',
    'PUT /v1/weights/{name}',
  ]);
});

test('every operation has a unique id, a described tag, a summary and its problems', () => {
  const tags = z
    .array(z.object({ name: z.string() }))
    .parse(document.tags)
    .map((tag) => tag.name);
  const ids = operations.map(({ operationId }) => operationId);
  expect(new Set(ids).size).toBe(ids.length);
  for (const operation of operations) {
    expect(tags, operation.path).toEqual(expect.arrayContaining(z.array(z.string()).parse(operation.tags)));
    expect(operation.summary, operation.path).toEqual(expect.any(String));
    if (operation.path.startsWith('/v1')) expect(Object.keys(operation.responses ?? {})).toEqual(expect.arrayContaining(['4XX', '5XX']));
  }
});

test('every reference resolves, and no named schema is unused', () => {
  const names = [...answer.text.matchAll(/"#\/components\/schemas\/([^"]+)"/g)].map((match) => match[1]);
  expect(new Set(names)).toEqual(new Set(Object.keys(document.components.schemas)));
  expect(answer.text).not.toContain('__SCHEMA__');
});

test('descriptions of settings are taken from the contract', () => {
  expect(JSON.stringify(document.components.schemas.StageInput)).toContain('ArcFace margin in radians');
});

test('the examples match their schemas, and each belongs to an operation', () => {
  const requests = {
    submitRun: components.SubmitRequest,
    cancelRun: components.CancelRequest,
    retryRun: components.RetryRequest,
    addDataset: components.DatasetRequest,
    createToken: components.TokenRequest,
    collectGarbage: components.GarbageRequest,
    addSchedule: components.ScheduleRequest,
  } satisfies Record<keyof typeof requestExamples, z.ZodType>;
  const answers = { listRuns: components.RunPage, addDataset: components.Dataset, createToken: components.TokenCreated } satisfies Record<
    keyof typeof answerExamples,
    z.ZodType
  >;
  for (const [schemas, examples] of [
    [requests, requestExamples],
    [answers, answerExamples],
  ] as const) {
    for (const [id, schema] of Object.entries(schemas)) {
      expect(() => schema.parse(Reflect.get(examples, id)), id).not.toThrow();
      expect(operations.map(({ operationId }) => operationId)).toContain(id);
    }
  }
  expect(problem.parse(problemExample)).toEqual(problemExample);
  const submit = operations.find(({ operationId }) => operationId === 'submitRun');
  expect(submit?.requestBody?.content['application/json']?.example).toEqual(requestExamples.submitRun);
  expect(submit?.responses?.['4XX']?.content?.['application/problem+json']?.example).toEqual(problemExample);
});

test('an optional body is not required', () => {
  const required = Object.fromEntries(
    operations.flatMap(({ operationId, requestBody }) => (requestBody ? [[operationId, requestBody.required ?? false]] : [])),
  );
  expect(required).toEqual({
    submitRun: true,
    addWebhook: true,
    addCodeHost: true,
    replaceCodeHostToken: true,
    searchPicture: true,
    setAlias: true,
    judgeRun: true,
    evaluateBaseline: true,
    rollBackAlias: true,
    setBudget: true,
    setRetention: true,
    addDataset: true,
    addSchedule: true,
    createToken: true,
    cancelRun: false,
    annotateRun: false,
    saveView: true,
    retryRun: false,
    collectGarbage: false,
    importWeights: true,
    startSession: true,
    addTrigger: true,
    rotateTrigger: false,
    deliverHook: true,
  });
  const { content = {} } = operations.find(({ operationId }) => operationId === 'importWeights')?.requestBody ?? {};
  expect(Object.keys(content)).toEqual(['application/octet-stream']);
});

test('/docs is self-contained: page, script and document', async () => {
  expect(await call(null, 'GET', '/docs')).toMatchObject({ status: 301, headers: { location: '/docs/' } });
  const page = await call(null, 'GET', '/docs/');
  expect(page.headers['content-type']).toContain('text/html');
  expect(page.headers['content-security-policy']).toContain("default-src 'none'");
  const addresses = [...page.text.matchAll(/(?:src|href|url)["']?\s*[=:]\s*["']([^"']+)["']/g)].map((match) => match[1] ?? '');
  expect(addresses).toContain('js/scalar.js');
  expect(addresses.filter((address) => /^(https?:)?\/\//.test(address))).toEqual([]);
  const script = await call(null, 'GET', '/docs/js/scalar.js');
  expect(script.headers['content-type']).toContain('javascript');
  expect(script.text.length).toBeGreaterThan(1_000_000);
});

test('the version is that of the product', () => {
  const { version } = z
    .object({ version: z.string() })
    .parse(JSON.parse(readFileSync(createRequire(import.meta.url).resolve('../../../package.json'), 'utf8')));
  expect(document.info).toMatchObject({ title: 'Cairn', version });
});

test('the recipe schema is served as published, for editors, without a token', async () => {
  const { status, text } = await call(null, 'GET', '/recipe.schema.json');
  expect(status).toBe(200);
  expect(text).toBe(readFileSync(new URL('../../../docs/recipe.schema.json', import.meta.url), 'utf8'));
});
