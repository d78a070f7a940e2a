import { partFile } from '@cairn/contract';
import { sha256 } from '@cairn/runtime';
import { readManifest } from '@cairn/storage';
import { expect, test } from 'vitest';
import { openAttempt } from '../testing/open-attempt.ts';
import { specOf } from '../testing/specs.ts';
import { runFinalize } from './run-finalize.ts';

const shards = 5;

/** A fleet's shards, committed and staged: more than one page of the control plane. */
async function openFleet() {
  const attempt = await openAttempt(specOf('finalize', { shards }));
  const { plane, store, context } = attempt;
  const keyOf = (shard: number) => `staging/att_1/${partFile('embeddings', shard)}`;
  plane.state.shards = Array.from({ length: shards }, (_, index) => {
    const content = `vectors ${index}`;
    const file = { name: partFile('embeddings', index), key: keyOf(index), bytes: content.length, sha256: sha256(content) };
    const seconds = { read: 0, decode: 0, infer: 0, write: 0 };
    const commit = { rows: 1, rejected: 0, files: [file], idsSha256: null, seconds };
    return { index, from: index, count: 1, holder: null, tries: 1, commit };
  });
  for (let index = 0; index < shards; index += 1) await store.put(keyOf(index), `vectors ${index}`);
  const prefix = context.spec.artifact.prefix.replace(/\/$/, '');
  const keys = async () => (await Array.fromAsync(store.list(prefix))).map(({ key }) => key.slice(prefix.length + 1));
  return { ...attempt, keyOf, prefix, keys };
}

test('every staged part is copied into place with a manifest, whose digest is reported', async () => {
  const { context, store, prefix, keys, reporter, plane } = await openFleet();
  const outcome = await runFinalize(context);
  const manifest = await readManifest(store, prefix);
  expect(outcome).toEqual({ outcome: 'succeeded', files: [], details: { digest: manifest.digest } });
  expect(manifest).toMatchObject({ id: context.spec.artifact.id, kind: 'features', createdAt: context.spec.artifact.createdAt });
  expect(await keys()).toEqual([...Array.from({ length: shards }, (_, index) => partFile('embeddings', index)), 'manifest.json']);
  await reporter.end();
  expect(plane.items('progress').at(-1)).toMatchObject({ done: shards, total: shards, unit: 'files' });
});

test('missing or changed parts are reported by their shards, after the others were copied', async () => {
  const { context, store, keyOf, keys } = await openFleet();
  await store.put(keyOf(1), 'vectorz 1');
  await store.remove(keyOf(3));
  expect(await runFinalize(context)).toMatchObject({
    outcome: 'failed',
    cause: 'infrastructure',
    code: 'corrupt_artifact',
    badShards: [1, 3],
  });
  expect(await keys()).not.toContain('manifest.json');
  expect(await keys()).toContain(partFile('embeddings', 4));
});

test('a full storage is not attributed to any shard', async () => {
  const { context } = await openFleet();
  const full = Object.assign(new Error('no space'), { code: 'ENOSPC' });
  const store = { ...context.store, copy: () => Promise.reject(full) };
  await expect(runFinalize({ ...context, store })).rejects.toBe(full);
});

test('it ends when asked to stop, and the next attempt continues with what it copied', async () => {
  const { context, stop, prefix } = await openFleet();
  const copied: Promise<void>[] = [];
  const copy: typeof context.store.copy = async (from, to, signal) => {
    if (copied.length === 2) {
      await Promise.all(copied);
      stop.ask({ cause: 'cancelled', reason: 'cancelled by ada', graceSeconds: 10 });
    }
    const done = context.store.copy(from, to, signal);
    if (copied.length < 2) copied.push(done);
    await done;
  };
  await expect(runFinalize({ ...context, store: { ...context.store, copy } })).rejects.toThrow('asked to stop');
  const next = await openFleet();
  const spec = { ...next.context.spec, artifact: context.spec.artifact };
  let more = 0;
  const counted: typeof copy = async (from, to, signal) => {
    more += 1;
    await context.store.copy(from, to, signal);
  };
  const outcome = await runFinalize({ ...next.context, spec, store: { ...context.store, copy: counted } });
  expect(outcome).toMatchObject({ outcome: 'succeeded', details: { digest: (await readManifest(context.store, prefix)).digest } });
  expect(more).toBe(shards - 2);
});
