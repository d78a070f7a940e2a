import { aRun, aStep, idFor, type StubApi, startStubApi } from '@cairn/client/testing';
import { type CheckpointList, runListItem } from '@cairn/contract';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { runTestCli } from '../testing/test-cli.ts';

const at = '2026-01-02T03:04:05.000Z';
const checkpoint = (n: number, over: Partial<CheckpointList['items'][number]>): CheckpointList['items'][number] => ({
  ...{ id: idFor('ckp', n), attemptId: idFor('att', 1), ordinal: 1, step: n * 1_000, epoch: n / 2, bytes: 45_000_000 },
  ...{ sha256: 'a'.repeat(64), final: false, createdAt: at, verifiedAt: at, removedAt: null },
  ...over,
});

let api: StubApi;
beforeEach(async () => {
  api = await startStubApi();
  const reused = aStep({ name: '256', kind: 'train', state: 'reused', reusedFrom: { runId: idFor('run', 9), runName: 'mini-0' } });
  const run = aRun({ stepViews: [aStep(), reused, aStep({ name: '384', kind: 'train', state: 'active' })] });
  api.on('GET', '/v1/runs', () => ({ items: [runListItem.parse(run)], nextCursor: null, total: 1 }));
  api.on('GET', '/v1/runs/[^/]+', () => run);
  api.on('GET', '/v1/runs/[^/]+/steps/[^/]+/checkpoints', () => ({ items: [], total: 0 }));
});
afterEach(() => api.close());
const checkpoints = (...args: string[]) => runTestCli(['checkpoints', 'mini-1', ...args], { url: api.url });

test('checkpoints are listed with their epoch, size, when they were verified, and what became of their files', async () => {
  const list: CheckpointList = {
    items: [checkpoint(3, { final: true }), checkpoint(2, { verifiedAt: null }), checkpoint(1, { removedAt: at })],
    total: 1_003,
  };
  api.on('GET', '/v1/runs/[^/]+/steps/384/checkpoints', () => list);
  const { code, out, err } = await checkpoints('384');
  expect([code, err]).toEqual([0, 'The newest 3 of 1,003.\n']);
  expect(out.split('\n').map((line) => line.trim().split(/ {2,}/))).toEqual([
    ['step', 'epoch', 'size', 'attempt', 'stored', 'verified', 'file'],
    ['3,000', '1.50', '45.0 MB', '1', '5 min ago', '5 min ago', 'the result of the stage'],
    ['2,000', '1.00', '45.0 MB', '1', '5 min ago', 'not yet', 'kept: an attempt can resume from it'],
    ['1,000', '0.50', '45.0 MB', '1', '5 min ago', '5 min ago', 'removed: the result of the stage is stored'],
    [''],
  ]);
  expect(JSON.parse((await checkpoints('384', '--json')).out)).toEqual(list);
});

test('where there are none it says why', async () => {
  expect((await checkpoints('384')).err).toBe('384 has no checkpoint: it is active.\n');
  expect((await checkpoints('prepare')).err).toBe('prepare has no checkpoints: it trains nothing.\n');
  expect((await checkpoints('256')).err).toBe('256 was reused: its checkpoints are those of `cairn checkpoints mini-0 256`.\n');
  expect(await checkpoints('38')).toMatchObject({ code: 2, err: expect.stringContaining('did you mean "384"?') });
});
