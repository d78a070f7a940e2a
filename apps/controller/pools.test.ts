import { readConfiguration } from '@cairn/runtime';
import { describe, expect, test } from 'vitest';
import { z } from 'zod';
import { attemptSlotsOf, type PoolConfiguration, poolsVariable } from './pools.ts';

const read = (pools: unknown): PoolConfiguration[] =>
  readConfiguration(z.object({ CAIRN_POOLS: poolsVariable }), {
    CAIRN_POOLS: typeof pools === 'string' ? pools : JSON.stringify(pools),
  }).CAIRN_POOLS;
const local = { name: 'local', executor: 'process', slots: 2 };
const image = `cairn/worker@sha256:${'a'.repeat(64)}`;
const gpus = (settings: Record<string, unknown> = {}, slots = 16) => ({
  name: 'gpus',
  executor: 'kubernetes',
  slots,
  settings: { namespace: 'training', image, ...settings },
});

const box = (settings: Record<string, unknown> = {}, slots = 8) => ({
  name: 'box',
  executor: 'docker',
  slots,
  settings: { image, ...settings },
});

test('pools keep their order, with the defaults of their settings', () => {
  const [first, second] = read([gpus(), local]);
  expect(first).toMatchObject({ name: 'gpus', slots: 16, settings: { gpusPerPod: 8, graceSeconds: 60 } });
  expect(second).toEqual(local);
  expect(read([box()])).toMatchObject([{ slots: 8, settings: { gpus: 'all', network: 'bridge', graceSeconds: 60 } }]);
});

test('a pod holds all its GPUs regardless of its step; a pod without GPUs and a process hold what the step asks for', () => {
  expect(read([gpus(), { ...gpus({ gpusPerPod: 0 }), name: 'cpus' }, local]).map(attemptSlotsOf)).toEqual([8, null, null]);
  const boxes = [box({}, 4), { ...box({ gpus: 2 }), name: 'two' }, { ...box({ gpus: 'none' }), name: 'cpus' }];
  expect(read(boxes).map(attemptSlotsOf)).toEqual([4, 2, null]);
});

describe('an invalid pool is rejected with its name and setting', () => {
  test.each([
    ['an unknown executor', [{ ...local, executor: 'slurm' }], 'pool local.executor: expected one of process, docker, kubernetes'],
    ['settings of a process', [{ ...local, settings: {} }], 'pool local: Unrecognized key: "settings"'],
    ['no settings', [{ name: 'gpus', executor: 'kubernetes', slots: 8 }], 'pool gpus.settings: Invalid input'],
    ['an image by tag', [gpus({ image: 'worker:1' })], 'pool gpus.settings.image: pin the image by digest'],
    ['fewer slots than a pod', [gpus({}, 4)], 'pool gpus.slots: slots are the GPUs of all pods together: 4 do not hold one pod of 8'],
    ['less grace than attempts are promised', [gpus({ graceSeconds: 10 })], 'pool gpus.settings.graceSeconds: an attempt is promised 30 s'],
    ['fewer slots than a container', [box({ gpus: 4 }, 2)], 'pool box.slots: slots are the GPUs of all containers together: 2 do not'],
    ['less grace in a container', [box({ graceSeconds: 10 })], 'pool box.settings.graceSeconds: an attempt is promised 30 s'],
    ['a pool without a name', [{ executor: 'process', slots: 2 }], 'pool 1.name: '],
    ['two pools with the same name', [local, local], 'two pools have the same name'],
    ['the reserved name tasks', [{ ...local, name: 'tasks' }], '`tasks` is reserved for the pool of the control plane'],
    ['no list', local, 'expected a list of pools'],
    ['no pool', [], 'expected at least one pool'],
    ['invalid JSON', '[', 'invalid JSON'],
  ])('%s', (_, pools, message) => {
    expect(() => read(pools)).toThrow(message);
  });

  test('every error of every pool is reported at once', () => {
    const wrong = () => read([gpus({ image: 'worker:1' }), { ...local, slots: 0 }]);
    expect(wrong).toThrow(/pool gpus\.settings\.image/);
    expect(wrong).toThrow(/pool local\.slots/);
  });
});
