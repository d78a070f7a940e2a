import type { ServerResponse } from 'node:http';
import { createClient } from '@cairn/client';
import { anEvent, idFor, type StubApi, sendProblem, startStubApi } from '@cairn/client/testing';
import type { RunEvent, RunView } from '@cairn/contract';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { aMiniRun } from '../testing/a-mini-run.ts';
import { watchRun } from './show-run.ts';
import type { WatchState } from './step-text.ts';

const runId = idFor('run', 1);
let api: StubApi;
let run: RunView;
let events: RunEvent[];
let streams: ServerResponse[];
let stop: AbortController;

function serve(stub: StubApi): void {
  stub.on('GET', '/v1/runs/[^/]+', () => run);
  stub.on('GET', '/v1/runs/[^/]+/steps/[^/]+/metrics', () => ({
    series: [{ name: 'loss', steps: [1, 2], values: [5.1, 3.4], times: [0, 1], total: 2 }],
    decimated: false,
    attempts: [],
  }));
  stub.on('GET', '/v1/runs/[^/]+/events', ({ query }) => {
    const items = events.filter(({ seq }) => seq > Number(query.get('after')));
    return { items, nextSeq: items.at(-1)?.seq ?? Number(query.get('after')) };
  });
  stub.on('GET', '/v1/events', (_, response) => {
    streams.push(response);
    response.writeHead(200, { 'content-type': 'text/event-stream' }).flushHeaders();
  });
}
const hint = (): void => {
  for (const stream of streams) stream.write(`event: hint\ndata: {"topic":"run:${runId}","what":"progress"}\n\n`);
};
const fetches = (): number => api.requests.filter(({ path }) => path === `/v1/runs/${runId}`).length;
const until = (condition: () => boolean) => expect.poll(condition, { interval: 5, timeout: 45_000 }).toBe(true);

beforeEach(async () => {
  api = await startStubApi();
  run = aMiniRun();
  events = [];
  streams = [];
  stop = new AbortController();
  serve(api);
});
afterEach(async () => {
  stop.abort();
  await api.close();
});

/** Watches in the background; the states are collected in the array. */
function watch(timing: { minMs?: number; maxMs?: number } = {}) {
  const states: WatchState[] = [];
  const client = createClient({ url: api.url, tries: 1 });
  const over = (async () => {
    for await (const state of watchRun(client, runId, { signal: stop.signal, minMs: 20, maxMs: 60_000, ...timing })) states.push(state);
  })();
  over.catch(() => undefined);
  return { states, over };
}

test('the run is returned at once, again after a hint, and a last time when it is over', async () => {
  const { states, over } = watch();
  await until(() => states.length >= 2);
  // The opening of the stream counts as a hint, because earlier ones are unknown.
  const before = states.length;
  run = aMiniRun({ name: 'renamed' });
  hint();
  await until(() => states.length > before);
  run = aMiniRun({ state: 'succeeded' });
  hint();
  await over;
  expect(states.map(({ run: seen }) => seen.name)).toContain('renamed');
  expect(states.at(-1)?.run.state).toBe('succeeded');
});

test('however many hints come, there is one fetch per minimum interval', async () => {
  const minMs = 100;
  const { states } = watch({ minMs });
  await until(() => streams.length === 1 && states.length >= 2);
  const before = fetches();
  const began = performance.now();
  for (let seen = 1; seen <= 4; seen += 1) {
    for (let hints = 0; hints < 10; hints += 1) hint();
    await until(() => fetches() >= before + seen);
  }
  expect(fetches() - before).toBeLessThanOrEqual((performance.now() - began) / minMs + 1);
});

test('without a hint it fetches again after the maximum interval', async () => {
  const { states } = watch({ maxMs: 50 });
  await until(() => states.length >= 5);
});

test('loss is that of the training steps that are active', async () => {
  const { states } = watch();
  await until(() => states.length >= 1);
  expect([...(states[0]?.metrics ?? [])]).toEqual([['384_finetune', { loss: 3.4 }]]);
});

test('the last note of a step stays until the next one', async () => {
  const say = (seq: number, level: 'info' | 'warning', message: string): void => {
    events.push(anEvent(seq, { type: 'note', message: `384_finetune: ${message}`, data: { step: '384_finetune', level, said: message } }));
    run = aMiniRun({ seq });
  };
  say(5, 'warning', 'Waiting for the storage');
  const { states } = watch({ maxMs: 50 });
  await until(() => states.length >= 3);
  expect(states.map(({ notes }) => notes.get('384_finetune')?.message)).toEqual(states.map(() => 'Waiting for the storage'));
  say(6, 'info', 'The storage is available again');
  await until(() => states.at(-1)?.notes.get('384_finetune')?.seq === 6);
});

test('while the service is away the last state is kept and marked; watching continues when it is back', async () => {
  const { states, over } = watch();
  await until(() => streams.length === 1 && states.length >= 2);
  const port = Number(new URL(api.url).port);
  await api.close();
  await until(() => states.at(-1)?.connection === 'lost');
  expect(states.at(-1)?.run.name).toBe('mini-1');
  run = aMiniRun({ state: 'cancelled' });
  api = await startStubApi(port);
  serve(api);
  await over;
  expect(states.at(-1)).toMatchObject({ connection: 'live', run: { state: 'cancelled' } });
});

test('a refused stream ends the watch with its error', async () => {
  api.on('GET', '/v1/events', (_, response) => sendProblem(response, 'forbidden', 'not for you'));
  await expect(watch().over).rejects.toMatchObject({ code: 'forbidden' });
});

test('a missing run is reported', async () => {
  api.on('GET', '/v1/runs/[^/]+', (_, response) => sendProblem(response, 'not_found', 'no such run'));
  await expect(watch().over).rejects.toMatchObject({ code: 'not_found' });
});

test('an interrupt ends the watch with its reason and closes the stream', async () => {
  let isClosed = false;
  const { states, over } = watch();
  await until(() => streams.length === 1 && states.length >= 2);
  streams[0]?.on('close', () => {
    isClosed = true;
  });
  streams[0]?.write(`id: c1\nevent: event\ndata: ${JSON.stringify(anEvent(1))}\n\n`);
  stop.abort(new Error('Ctrl-C'));
  await expect(over).rejects.toThrow('Ctrl-C');
  await until(() => isClosed);
});
