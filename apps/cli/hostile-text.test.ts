import { anAttempt, anEvent, aRun, aStep, idFor, type StubApi, sendProblem, startStubApi } from '@cairn/client/testing';
import { runListItem } from '@cairn/contract';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { runTestCli } from './testing/test-cli.ts';

/** Clears the screen, sets the window title, writes to the clipboard, moves up a line, hides what follows, reverses its direction. */
const hostile = 'x\x1b[2J\x1b]0;owned\x07\x1b]52;c;eA==\x07\x1b[1A\x9b8m\x1b[8m\u202e\rdone';
const at = '2026-01-02T03:04:05.000Z';
const sha256 = 'ab'.repeat(32);
const artifact = { id: idFor('art', 1), kind: 'checkpoint', digest: null, prefix: hostile };

const failure = { cause: 'user', code: hostile, message: `${hostile}\n${hostile}` };
const step = aStep({
  name: hostile,
  kind: 'train',
  state: 'failed',
  attempts: 2,
  failure: { ...failure, cause: 'user' },
  artifact: { ...artifact, kind: 'checkpoint' },
  reusedFrom: { runId: idFor('run', 2), runName: hostile },
});
const active = aStep({
  id: idFor('stp', 2),
  name: 'b',
  state: 'active',
  progress: { done: 1, total: 2, unit: 'steps', rate: 1, etaSeconds: 1, message: hostile },
  waiting: { code: 'capacity', sentence: hostile, since: at },
});
const run = aRun({
  name: 'mini-1',
  state: 'failed',
  cause: hostile,
  recipe: hostile,
  dataset: hostile,
  owner: hostile,
  stepViews: [step, active],
});
const summary = runListItem.parse(run);
const attempt = anAttempt({
  step: hostile,
  place: hostile,
  state: 'failed',
  failure: { ...failure, cause: 'user' },
  finding: { code: hostile, message: hostile, since: at },
  endedAt: at,
});
const pageOf = (item: unknown) => ({ items: [item], nextCursor: null, total: 1 });
const answers: Record<string, unknown> = {
  '/v1/runs': pageOf(summary),
  '/v1/runs/[^/]+': run,
  '/v1/runs/[^/]+/events': { items: [anEvent(1, { type: 'note', message: hostile, data: { step: 'b', level: 'warning' } })], nextSeq: 1 },
  '/v1/runs/[^/]+/steps/[^/]+': { ...active, state: 'succeeded' },
  '/v1/runs/[^/]+/steps/[^/]+/attempts': { items: [attempt] },
  '/v1/attempts/[^/]+/logs': { stream: 'stdout', offset: 0, nextOffset: hostile.length, text: hostile, end: true, size: hostile.length },
  '/v1/artifacts/[^/]+': {
    ...artifact,
    state: 'ready',
    location: hostile,
    bytes: 1,
    files: [],
    fileCount: 0,
    details: {},
    runId: null,
    createdAt: at,
  },
  '/v1/weights': pageOf({
    id: idFor('wts', 1),
    name: hostile,
    content: 'backbone',
    backbone: hostile,
    extent: 'all',
    sha256,
    bytes: 1,
    source: hostile,
    licence: hostile,
    embeddingDim: null,
    classes: null,
    owner: hostile,
    artifactId: idFor('art', 1),
    createdAt: at,
  }),
  '/v1/datasets': pageOf({
    id: idFor('dst', 1),
    name: hostile,
    version: 1,
    owner: hostile,
    source: { kind: 'folder', root: hostile, metadata: hostile, countries: hostile },
    digest: sha256,
    digestBasis: hostile,
    createdAt: at,
  }),
  '/v1/models': pageOf({
    id: idFor('mdl', 1),
    name: hostile,
    version: 1,
    owner: hostile,
    runId: idFor('run', 1),
    artifacts: {},
    metrics: { [hostile]: 1 },
    createdAt: at,
  }),
  '/v1/tokens': {
    items: [{ id: idFor('tok', 1), name: hostile, role: 'viewer', createdAt: at, expiresAt: null, lastUsedAt: null }],
  },
  '/v1/fleet': {
    leader: { holder: hostile, epoch: 1, expiresAt: at },
    pools: [{ name: hostile, executor: hostile, slots: 1, busy: 0, waiting: 0, room: { fits: 1, sentences: [hostile] } }],
  },
  '/v1/recipes': { items: [{ name: hostile, description: hostile, stages: [hostile], models: [hostile] }] },
};

let api: StubApi;
beforeEach(async () => {
  api = await startStubApi();
  for (const [path, answer] of Object.entries(answers)) api.on('GET', path, () => answer);
  api.on('POST', '/v1/runs/[^/]+/(cancel|retry)', () => run);
  api.on(
    'POST',
    '/v1/runs',
    (_, response) => void sendProblem(response, 'invalid_setting', hostile, { nearest: hostile, remedy: hostile }),
  );
  api.on('GET', '/v1/events', (_, response) => response.writeHead(200, { 'content-type': 'text/event-stream' }).flushHeaders());
});
afterEach(() => api.close());

// biome-ignore lint/suspicious/noControlCharactersInRegex: what must not reach a terminal
const acting = /[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]/;

test.each([
  'runs',
  'show mini-1',
  'watch mini-1',
  'logs mini-1 b',
  'logs mini-1 b -f',
  'cancel mini-1',
  'retry mini-1',
  'weights',
  'datasets',
  'models',
  'tokens',
  'fleet',
  'recipes',
  'submit -r mini',
])('cairn %s shows text from others without letting it control the terminal', async (command) => {
  const { out, err } = await runTestCli(command.split(' '), { url: api.url });
  expect(out + err).toMatch(/done|mini-1/);
  expect(acting.exec(out + err)).toBeNull();
  const json = await runTestCli([...command.split(' '), '--json'], { url: api.url });
  expect(acting.exec(json.out + json.err)).toBeNull();
  if (command === 'runs') expect(JSON.parse(json.out).items[0].recipe).toBe(hostile);
});
