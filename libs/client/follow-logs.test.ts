import { EventEmitter, once } from 'node:events';
import type { AttemptView, LogStream, StepState } from '@cairn/contract';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { createClient, type FollowStepLogsOptions } from './index.ts';
import { anAttempt, aStep, idFor, type StubApi, sendProblem, startStubApi } from './testing/stub-api.ts';

/** A step whose attempts and logs a test changes while they are followed. */
function aLiveStep(api: StubApi) {
  const logs = new Map<string, string>();
  /** Wakes the answers that wait for new text. */
  const changes = new EventEmitter();
  const state: { step: StepState; attempts: AttemptView[] } = { step: 'active', attempts: [] };
  api.on('GET', '/v1/runs/[^/]+/steps/384', () => aStep({ name: '384', kind: 'train', state: state.step }));
  api.on('GET', '/v1/runs/[^/]+/steps/384/attempts', () => ({ items: state.attempts }));
  api.on('GET', '/v1/attempts/([^/]+)/logs', async ({ query }, _, match) => {
    const stream = query.get('stream');
    const offset = Number(query.get('offset'));
    const isOver = () => state.attempts.find((attempt) => attempt.id === match[1])?.endedAt != null;
    const whole = () => Buffer.from(logs.get(`${match[1]}/${stream}`) ?? '');
    const limit = AbortSignal.timeout(query.get('waitSeconds') === '0' ? 0 : 100);
    while (!limit.aborted && whole().length === offset && !isOver()) await Promise.race([once(changes, 'change'), once(limit, 'abort')]);
    const over = isOver();
    // Seven bytes per page, so that a log takes several pages.
    const text = whole().subarray(offset, offset + 7);
    const nextOffset = offset + text.length;
    return { stream, offset, nextOffset, text: text.toString(), end: over && nextOffset === whole().length, size: whole().length };
  });
  return {
    start: (ordinal: number) => state.attempts.push(anAttempt({ id: idFor('att', ordinal), ordinal })),
    write: (ordinal: number, stream: LogStream, text: string) => {
      const key = `${idFor('att', ordinal)}/${stream}`;
      logs.set(key, (logs.get(key) ?? '') + text);
      changes.emit('change');
    },
    endAttempt: (ordinal: number) => {
      state.attempts = state.attempts.map((a) => (a.ordinal === ordinal ? { ...a, state: 'lost', endedAt: a.createdAt } : a));
      changes.emit('change');
    },
    endStep: (how: StepState) => {
      state.step = how;
    },
  };
}

let api: StubApi;
let live: ReturnType<typeof aLiveStep>;
beforeEach(async () => {
  api = await startStubApi();
  live = aLiveStep(api);
});
afterEach(() => api.close());

async function collect(options: Partial<FollowStepLogsOptions>, onPiece?: (soFar: Record<string, string>) => void) {
  const texts: Record<string, string> = {};
  const pieces = createClient({ url: api.url }).followStepLogs({
    runId: idFor('run', 1),
    step: '384',
    streams: ['stdout'],
    follow: true,
    pollMs: 10,
    ...options,
  });
  for await (const piece of pieces) {
    const key = `${piece.ordinal}/${piece.stream}`;
    expect(piece.offset).toBe(Buffer.byteLength(texts[key] ?? ''));
    texts[key] = (texts[key] ?? '') + piece.text;
    onPiece?.(texts);
  }
  return texts;
}

test('a step is followed across its attempts until it ends, every byte once', async () => {
  live.start(1);
  live.write(1, 'stdout', 'loading the list\n');
  const texts = await collect({}, (soFar) => {
    if (soFar['1/stdout'] === 'loading the list\n') {
      live.write(1, 'stdout', 'killed\n');
      live.endAttempt(1);
      live.start(2);
      live.write(2, 'stdout', 'resumed at step 40\n');
    }
    if (soFar['2/stdout'] === 'resumed at step 40\n') {
      live.write(2, 'stdout', 'done\n');
      live.endAttempt(2);
      live.endStep('succeeded');
    }
  });
  expect(texts).toEqual({ '1/stdout': 'loading the list\nkilled\n', '2/stdout': 'resumed at step 40\ndone\n' });
});

test('the attempts of a fleet are followed in parallel', async () => {
  live.start(1);
  live.start(2);
  live.write(1, 'agent', 'shard 0\n');
  live.write(2, 'agent', 'shard 1\n');
  const texts = await collect({ streams: ['agent', 'stderr'] }, (soFar) => {
    if (soFar['1/agent'] !== 'shard 0\n' || soFar['2/agent'] !== 'shard 1\n') return;
    live.endAttempt(1);
    live.endAttempt(2);
    live.endStep('succeeded');
  });
  expect(texts).toEqual({ '1/agent': 'shard 0\n', '2/agent': 'shard 1\n' });
});

test('without following, the log so far is returned, even while the attempt is live', async () => {
  live.start(1);
  live.write(1, 'stdout', 'one\ntwo\nthree\n');
  expect(await collect({ follow: false })).toEqual({ '1/stdout': 'one\ntwo\nthree\n' });
});

test('one attempt alone is followed to its own end', async () => {
  for (const ordinal of [1, 2]) {
    live.start(ordinal);
    live.write(ordinal, 'stdout', `attempt ${ordinal}\n`);
  }
  live.endAttempt(1);
  expect(await collect({ ordinal: 1 })).toEqual({ '1/stdout': 'attempt 1\n' });
});

test('a step without attempts, such as a reused one, has an empty log', async () => {
  live.endStep('reused');
  expect(await collect({})).toEqual({});
});

test('a failing stream ends the others and is reported', async () => {
  live.start(1);
  live.write(1, 'agent', 'works\n');
  api.on('GET', '/v1/attempts/([^/]+)/logs', (request, response) => {
    if (request.query.get('stream') === 'stdout') sendProblem(response, 'corrupt_artifact', 'the log is gone');
  });
  await expect(collect({ streams: ['agent', 'stdout'] })).rejects.toThrow('the log is gone');
});

test('a reader that leaves early aborts the calls in progress', async () => {
  live.start(1);
  const held = { open: 0, closed: 0 };
  api.on('GET', '/v1/attempts/([^/]+)/logs', ({ query }, response) => {
    const offset = Number(query.get('offset'));
    if (offset === 0) return { stream: 'stdout', offset, nextOffset: 6, text: 'first\n', end: false, size: 6 };
    held.open += 1;
    response.on('close', () => {
      held.closed += 1;
    });
  });
  const client = createClient({ url: api.url });
  for await (const piece of client.followStepLogs({ runId: idFor('run', 1), step: '384', streams: ['stdout'], follow: true })) {
    expect(piece.text).toBe('first\n');
    await expect.poll(() => held.open, { interval: 5 }).toBe(1);
    break;
  }
  await expect.poll(() => held.closed, { interval: 5 }).toBe(1);
});
