import { aRun, idFor, type StubApi, startStubApi } from '@cairn/client/testing';
import { type RunTimeline, runListItem } from '@cairn/contract';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { runTestCli } from '../testing/test-cli.ts';

const at = (minutes: number) => new Date(Date.UTC(2026, 0, 2, 3, minutes)).toISOString();
const step = (name: string, over: Partial<RunTimeline['steps'][number]> = {}): RunTimeline['steps'][number] => ({
  ...{ id: idFor('stp', 1), name, kind: 'train', state: 'blocked', createdAt: at(0), readyAt: null, startedAt: null, finishedAt: null },
  ...over,
});
const attempt = (name: string, ordinal: number, over: Partial<RunTimeline['attempts'][number]> = {}): RunTimeline['attempts'][number] => ({
  ...{ id: idFor('att', ordinal), step: name, ordinal, purpose: 'work', state: 'running', pool: 'gpu', slots: 8, place: 'gpu-3' },
  ...{ createdAt: at(0), startedAt: at(0), endedAt: null, failure: null, stopReason: null, resumedFrom: null },
  ...over,
});

let api: StubApi;
beforeEach(async () => {
  api = await startStubApi();
  api.on('GET', '/v1/runs', () => ({ items: [runListItem.parse(aRun())], nextCursor: null, total: 1 }));
});
afterEach(() => api.close());

test('the timeline says what waited, what each attempt took and how it ended, with bars from the beginning of the run to now', async () => {
  const failure = { cause: 'gpu', code: 'gpu_lost', message: 'an uncorrectable error\nof the memory' } as const;
  const view: RunTimeline = {
    ...{ asOf: at(60), startedAt: at(0), finishedAt: null, attemptsTotal: 5 },
    steps: [
      step('prepare', { state: 'reused', finishedAt: at(0) }),
      step('384', { state: 'active', readyAt: at(0), startedAt: at(20) }),
      step('512', { state: 'ready', readyAt: at(50) }),
      step('export'),
    ],
    attempts: [
      attempt('384', 1, { state: 'failed', createdAt: at(20), startedAt: at(22), endedAt: at(40), failure }),
      attempt('384', 2, { createdAt: at(40), startedAt: at(40), resumedFrom: { step: 1_200, epoch: 1 } }),
    ],
  };
  api.on('GET', '/v1/runs/[^/]+/timeline', () => view);
  const cairn = (...args: string[]) => runTestCli(['timeline', 'mini-1', ...args], { url: api.url, env: { LANG: 'C' } });
  const { out, err } = await cairn();
  expect(err).toBe('Without the 3 oldest attempts.\n');
  expect(out).toBe(`\
step, attempt   state          begins        waited          time                       1 h 00 min   what happened
= prepare       reused
| 384           active          0.0 s   20 min 00 s   40 min 00 s   ----------
    1           failed    20 min 00 s                 18 min 00 s             ##########             on gpu-3; gpu: an uncorrectable error
    2           running   40 min 00 s                 20 min 00 s                       ##########   on gpu-3; resumed from step 1,200
o 512           ready     50 min 00 s   10 min 00 s                                          -----
. export        blocked
`);
  expect(JSON.parse((await cairn('--json')).out)).toEqual(view);
});
