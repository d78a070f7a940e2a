import { expect, test } from 'vitest';
import { openShards } from './held-shards.ts';

/** The shards of a control plane with this many, held by one worker. */
function holding(count: number, stragglerMs = 0) {
  const free = Array.from({ length: count }, (_, index) => ({ index, from: index * 10, count: 10, tries: 1, resumeFrom: null }));
  const committed = new Set<number>();
  const client = {
    claimShard: async () => ({ shard: free.shift() ?? null, done: committed.size === count, retryAfterSeconds: 1 }),
  };
  const shards = openShards({ client, stragglerMs }, new AbortController().signal);
  const commit = (index: number) => async () => void committed.add(index);
  return { shards, committed, commit };
}

test('an idle place gets the slowest shard of another one; the first to store it ends the other, which stores nothing', async () => {
  const { shards, committed, commit } = holding(2);
  const [slow, quick] = [(await shards.claim()).held, (await shards.claim()).held];
  expect([slow?.shard.index, quick?.shard.index]).toEqual([0, 1]);
  await quick?.storeOnce(commit(1));
  shards.took(0);
  if (quick) shards.left(quick);

  const { held: backup } = await shards.claim();
  expect(backup).toMatchObject({ shard: { index: 0 }, isBackup: true });
  // No third place gets it.
  expect((await shards.claim()).held).toBeNull();
  expect(slow && shards.isLast(slow)).toBe(false);
  let stores = 0;
  const store = async () => {
    stores += 1;
    // Both are ready at once: the second waits for the first.
    await new Promise(setImmediate);
    await commit(0)();
  };
  await Promise.all([backup?.storeOnce(store), slow?.storeOnce(store)]);
  expect(stores).toBe(1);
  expect([slow?.over.signal.aborted, backup?.over.signal.aborted]).toEqual([true, false]);
  expect([...committed].toSorted()).toEqual([0, 1]);
  expect(await shards.claim()).toMatchObject({ held: null, done: true });
});

test('if storing fails, the other place stores the shard', async () => {
  const { shards, committed, commit } = holding(1);
  const first = (await shards.claim()).held;
  shards.took(0);
  const second = (await shards.claim()).held;
  const failing = first?.storeOnce(async () => Promise.reject(new Error('the storage is away')));
  await expect(failing).rejects.toThrow('the storage is away');
  if (first) shards.left(first);
  expect(second && shards.isLast(second)).toBe(true);
  await second?.storeOnce(commit(0));
  expect([...committed]).toEqual([0]);
});

test('a shard that is not slow, or before any was done, stays with its place', async () => {
  const unmeasured = holding(1);
  await unmeasured.shards.claim();
  expect((await unmeasured.shards.claim()).held).toBeNull();
  const usual = holding(1, 3_600_000);
  await usual.shards.claim();
  usual.shards.took(1);
  expect((await usual.shards.claim()).held).toBeNull();
});
