import { claimRequest, finishRequest, type LogStream, logStream, reportRequest, shardCommit, startRequest } from '@cairn/contract';
import { sha256 } from '@cairn/runtime';
import fc from 'fast-check';
import { beforeAll, expect, test, vi } from 'vitest';
import type { z } from 'zod';
import { arbitraryJson } from '../testing/arbitrary-json.ts';
import { openTestApi } from '../testing/test-api.ts';

const { harness, prisma, call, callAsAttempt } = await openTestApi();
vi.setConfig({ testTimeout: 180_000, hookTimeout: 60_000 });

/** The calling attempt: of a training stage, which has checkpoints, or of an extraction, which has shards. Its calls may end it. */
let runId = '';
let attemptId = '';
let seq = 0;

async function nextAttempt(step: string): Promise<void> {
  runId = await harness.submit({ noReuse: [step] });
  [attemptId = ''] = await harness.startAttempts(runId, step);
  seq = 0;
  if (step.startsWith('extract')) await harness.engine.claimShard(attemptId, 1, { holding: [] });
}

beforeAll(async () => {
  // Builds the results that the runs of the tests reuse.
  await harness.playAll(await harness.submit());
});

/** Values that random generation does not find: its own files, and the counts of a shard. */
const known = {
  key: ['staging/OWN/a', 'staging/OWN/b/c.npy', 'lists/a'],
  name: ['a', 'loss'],
  sha256: [sha256('a')],
  rows: [3],
  rejected: [0],
};

/** Calls with random bodies of the schema; checks in between that every view of the run still works. */
async function callWith(step: string, path: string, schema: z.ZodType, times: number): Promise<Map<number, number>> {
  await nextAttempt(step);
  const statuses = new Map<number, number>();
  for (const made of fc.sample(arbitraryJson(schema, known), { numRuns: times, seed: 1 })) {
    const body = JSON.parse(JSON.stringify(made ?? null).replaceAll('staging/OWN/', `staging/${attemptId}/`));
    // Only reports with a new sequence number are applied.
    if (typeof body?.seq === 'number' && body.seq > 0) body.seq = seq += 1;
    const { status, json } = await callAsAttempt(attemptId, 'POST', path, { body });
    const what = `${JSON.stringify(body).slice(0, 5_000)}: ${JSON.stringify(json)}`;
    statuses.set(status, (statuses.get(status) ?? 0) + 1);
    expect(status, what).toBeLessThan(500);
    // That would be a gap in a schema, which PostgreSQL had to catch.
    expect(json.details?.part, what).not.toBe('database');
    if (await isLive()) continue;
    if (body.outcome === 'succeeded' && !step.startsWith('extract')) await harness.finalize(runId, step);
    await requireShown(step);
    await nextAttempt(step);
  }
  await requireShown(step);
  return statuses;
}

const isLive = async () => ['running', 'stopping'].includes((await prisma.attempt.findUniqueOrThrow({ where: { id: attemptId } })).state);

async function requireShown(step: string): Promise<void> {
  const run = `/v1/runs/${runId}`;
  const pages = [run, `${run}/events`, `/v1/attempts/${attemptId}`];
  for (const part of ['', '/attempts', '/shards', '/metrics', '/metrics?maxPoints=2']) pages.push(`${run}/steps/${step}${part}`);
  const { artifact } = await harness.step(runId, step);
  if (artifact !== null) pages.push(`/v1/artifacts/${artifact.id}`);
  if (step === 'register') pages.push('/v1/models', '/v1/models/toy');
  for (const page of pages) {
    const { status, text } = await call('viewer', 'GET', page);
    expect(status, `${page}: ${text}`).toBe(200);
  }
  for (const stream of logStream.options) await readToItsEnd(stream);
}

async function readToItsEnd(stream: LogStream): Promise<void> {
  for (let offset = 0; ; ) {
    const { status, text, json } = await call('viewer', 'GET', `/v1/attempts/${attemptId}/logs?stream=${stream}&offset=${offset}`);
    expect(status, `the log ${stream} at ${offset}: ${text}`).toBe(200);
    if (json.text === '') return;
    offset = json.nextOffset;
  }
}

test.each([
  { step: 'first', path: '/start', schema: startRequest, times: 50 },
  { step: 'first', path: '/reports', schema: reportRequest, times: 250 },
  { step: 'extract_index', path: '/reports', schema: reportRequest, times: 50 },
  { step: 'extract_index', path: '/shards/claim', schema: claimRequest, times: 50 },
  { step: 'extract_index', path: '/shards/0/commit', schema: shardCommit, times: 50 },
  // The training stage last: what depends on it would have to be rebuilt.
  ...['extract_index', 'evaluate', 'register', 'first'].map((step) => ({ step, path: '/finish', schema: finishRequest, times: 25 })),
])(
  'every body that an attempt of $step sends to $path is accepted or rejected, and the run can still be shown',
  async ({ step, path, schema, times }) => {
    const statuses = await callWith(step, path, schema, times);
    expect(statuses.get(400)).toBeGreaterThan(0);
    // A process other than the one that started is superseded.
    expect(statuses.get(path === '/start' ? 409 : 200)).toBeGreaterThan(0);
  },
);
