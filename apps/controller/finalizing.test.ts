import { pathToFileURL } from 'node:url';
import { CairnError } from '@cairn/contract';
import { stepsToFinalize } from '@cairn/engine';
import { ada, type Harness, openEngineHarness } from '@cairn/engine/testing';
import { type ObjectStore, openStore, tensorBoardFolders } from '@cairn/storage';
import { makeRunFolder, removeRunFolder } from '@cairn/testing';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { finalizeStep } from './serve-queues.ts';

let harness: Harness;
let root: string;
let store: ObjectStore;
beforeAll(async () => {
  harness = await openEngineHarness();
  root = await makeRunFolder();
  store = openStore(pathToFileURL(root).href);
});
afterAll(async () => {
  await harness.close();
  await removeRunFolder(root);
});

const keys = async (prefix: string) => (await Array.fromAsync(store.list(prefix.replace(/\/$/, '')))).map(({ key }) => key);

/** A training stage whose attempt succeeded: its checkpoint and its curves are staged. */
async function trained(epochs: number) {
  const runId = await harness.submit({ set: { 'stages.first.epochs': epochs } });
  for (const name of await harness.ready(runId)) if (name === 'prepare') await harness.play(runId, name);
  const [attempt = ''] = await harness.startAttempts(runId, 'first');
  const checkpoint = harness.file('checkpoint.pt', attempt, 'the weights');
  await store.put(checkpoint.key, 'the weights');
  await store.put(`${tensorBoardFolders(attempt).staged}/events.out.tfevents.1.2`, 'the curves');
  await harness.engine.finishAttempt(attempt, 1, { outcome: 'succeeded', files: [checkpoint], details: { step: 3 } });
  const { id, generation, artifact } = await harness.step(runId, 'first');
  return { runId, attempt, id, generation, prefix: artifact?.prefix ?? '', state: async () => (await harness.step(runId, 'first')).state };
}

const finalize = (id: string, generation: number, over: Partial<ObjectStore> = {}) =>
  finalizeStep({ ctx: harness.ctx, store: { ...store, ...over } }, id, generation, AbortSignal.timeout(20_000));

test('staged files of a stage become its result, its curves are kept, and the staging folder is removed', async () => {
  const { attempt, id, generation, prefix, state } = await trained(2);
  await finalize(id, generation);
  expect(await state()).toBe('succeeded');
  expect(await keys(prefix)).toEqual([`${prefix}checkpoint.pt`, `${prefix}manifest.json`]);
  expect(await keys('logs/')).toEqual([`logs/${attempt}/tensorboard/events.out.tfevents.1.2`]);
  expect((await store.getBytes(`logs/${attempt}/tensorboard/events.out.tfevents.1.2`)).toString()).toBe('the curves');
  expect(await keys('staging/')).toEqual([]);
});

test('a finalizing that was interrupted before the curves were kept leaves them readable', async () => {
  const { attempt, id, generation, state } = await trained(3);
  const copy: ObjectStore['copy'] = async (from, to, signal) => {
    if (to.startsWith('logs/')) throw new Error('killed here');
    return store.copy(from, to, signal);
  };
  await expect(finalize(id, generation, { copy })).rejects.toThrow('killed here');
  expect(await state()).toBe('succeeded');
  const { staged } = tensorBoardFolders(attempt);
  expect(await keys(staged)).toEqual([`${staged}/events.out.tfevents.1.2`]);
});

test('a staged file that differs from what was reported makes the step start over', async () => {
  const { attempt, id, generation, prefix, state } = await trained(4);
  await store.put(`staging/${attempt}/checkpoint.pt`, 'other bytes');
  await finalize(id, generation);
  expect(await state()).toBe('ready');
  expect(await keys(prefix)).not.toContain(`${prefix}manifest.json`);
  // The next result has another prefix, since a late finalizing may still write to the old one.
  const { artifact, failures } = await harness.prisma.step.findUniqueOrThrow({ where: { id }, include: { artifact: true } });
  expect(artifact).toMatchObject({ state: 'building', prefix: expect.not.stringContaining(prefix) });
  expect(failures).toEqual({ infrastructure: 1 });
});

test('a failed or full storage is retried after a delay, with the same staged files', async () => {
  const { attempt, id, generation, state } = await trained(5);
  for (const [nth, code] of (['storage_full', 'storage_failed'] as const).entries()) {
    const copy = () => Promise.reject(new CairnError(code, 'the disk failed'));
    await finalize(id, generation, { copy });
    const step = await harness.prisma.step.findUniqueOrThrow({ where: { id } });
    expect(step).toMatchObject({ state: 'active', finalizing: true, generation, failures: { infrastructure: nth + 1 }, failure: { code } });
    expect(step.notBefore?.getTime()).toBeGreaterThan(Date.now() - 1_000);
    // Not before the retry is due.
    await harness.prisma.step.update({ where: { id }, data: { notBefore: new Date(Date.now() + 60_000) } });
    expect(await stepsToFinalize(harness.ctx)).toEqual([]);
  }
  await harness.prisma.step.update({ where: { id }, data: { notBefore: new Date() } });
  expect(await stepsToFinalize(harness.ctx)).toEqual([{ stepId: id, generation }]);
  expect(await keys(`staging/${attempt}/`)).not.toEqual([]);
  await finalize(id, generation);
  expect(await state()).toBe('succeeded');
});

test('two replicas that finalize a step at the same time make one result', async () => {
  const { id, generation, prefix, state } = await trained(6);
  await Promise.all([finalize(id, generation), finalize(id, generation)]);
  expect(await state()).toBe('succeeded');
  expect(await keys(prefix)).toEqual([`${prefix}checkpoint.pt`, `${prefix}manifest.json`]);
});

test('a cancel while a step is finalized ends the run, and the copy is discarded', async () => {
  const { id, generation, state, runId } = await trained(7);
  const copy: ObjectStore['copy'] = async (from, to, signal) => {
    await harness.engine.cancelRun(runId, ada, '');
    await store.copy(from, to, signal);
  };
  await finalize(id, generation, { copy });
  expect(await state()).toBe('cancelled');
  expect((await harness.run(runId)).state).toBe('cancelled');
});
