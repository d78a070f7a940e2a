import { CairnError } from '@cairn/contract';
import { sha256 } from '@cairn/runtime';
import { beforeEach, expect, test } from 'vitest';
import { type ArtifactCommit, commitArtifact, contentDigest, faultyParts, readManifest, verifyFile } from '../artifacts.ts';
import type { ObjectStore } from '../object-store.ts';

const contents = { 'img_emb/img_emb_00000.npy': 'vectors', 'metadata/metadata_00000.parquet': 'rows', 'rejected.parquet': '' };
const prefix = 'features/art_1';

async function stage(into: ObjectStore): Promise<ArtifactCommit> {
  const files = [];
  for (const [name, content] of Object.entries(contents)) {
    const from = `staging/att_1/${name}`;
    const { bytes, sha256: digest } = await into.put(from, content);
    files.push({ from, name, bytes, sha256: digest });
  }
  const manifest = { kind: 'features' as const, id: 'art_1', protocol: 1, createdAt: '2026-11-01T12:00:00Z', details: { rows: 12 } };
  return { prefix, files, manifest };
}

async function content(from: ObjectStore) {
  const found: Record<string, string> = {};
  for await (const { key } of from.list(prefix)) found[key] = (await from.getBytes(key)).toString();
  return found;
}

/** The store, which fails at its `step`-th change, before or after making it: as a kill would leave it. */
function cutAt(whole: ObjectStore, step: number, when: 'before' | 'after') {
  let changes = 0;
  async function change<T>(work: () => Promise<T>): Promise<T> {
    changes += 1;
    const isCut = changes >= step;
    if (isCut && when === 'before') throw new Error('killed');
    const result = await work();
    if (isCut) throw new Error('killed');
    return result;
  }
  const cut: ObjectStore = {
    ...whole,
    put: (...args) => change(() => whole.put(...args)),
    copy: (...args) => change(() => whole.copy(...args)),
    remove: (...args) => change(() => whole.remove(...args)),
  };
  return { cut, changes: () => changes };
}

/** The tests of artifacts, on a store that is empty at the start of each test. */
export function artifactContract(open: () => ObjectStore): void {
  let store: ObjectStore;
  beforeEach(() => {
    store = open();
  });

  test('two staged files of the same name are refused before anything is copied', async () => {
    const commit = await stage(store);
    const twice = { ...commit, files: [...commit.files, ...commit.files.slice(0, 1)] };
    await expect(commitArtifact(store, twice)).rejects.toMatchObject({ code: 'corrupt_artifact' });
    expect(await content(store)).toEqual({});
  });

  test('a commit has every file, checked, and a manifest that can be read back', async () => {
    const manifest = await commitArtifact(store, await stage(store));
    expect(await readManifest(store, prefix)).toEqual(manifest);
    for (const file of manifest.files) await verifyFile(store, `${prefix}/${file.name}`, file);
    expect(manifest.details).toEqual({ rows: 12 });
    expect(manifest.files).toContainEqual({ name: 'img_emb/img_emb_00000.npy', bytes: 7, sha256: sha256('vectors') });
    expect(Object.keys(await content(store))).toEqual(
      [...Object.keys(contents).map((name) => `${prefix}/${name}`), `${prefix}/manifest.json`].toSorted(),
    );
  });

  test('the digest depends only on names and content', async () => {
    const { digest, files } = await commitArtifact(store, await stage(store));
    expect(contentDigest(files.toReversed())).toBe(digest);
    expect(contentDigest(files.map((file) => ({ ...file, bytes: 0 })))).toBe(digest);
    expect(contentDigest(files.map((file) => ({ ...file, name: `x${file.name}` })))).not.toBe(digest);
  });

  test('a commit that is cut at any change and run again ends like one that was not cut', async () => {
    const commit = await stage(store);
    await store.put(`${prefix}/stray.npy`, 'of an earlier try');
    const { cut, changes } = cutAt(store, Number.POSITIVE_INFINITY, 'before');
    await commitArtifact(cut, commit);
    const expected = await content(store);
    const steps = changes();
    expect(steps).toBe(Object.keys(contents).length + 2);

    for (let step = 1; step <= steps; step += 1) {
      for (const when of ['before', 'after'] as const) {
        await store.removePrefix(prefix);
        await store.put(`${prefix}/stray.npy`, 'of an earlier try');
        await expect(commitArtifact(cutAt(store, step, when).cut, commit), `cut ${when} ${step}`).rejects.toThrow('killed');
        if (step < steps) await expect(readManifest(store, prefix)).rejects.toMatchObject({ code: 'not_found' });
        await commitArtifact(store, commit);
        expect(await content(store), `cut ${when} ${step}`).toEqual(expected);
      }
    }
  });

  test('a commit that is repeated when staging is gone changes nothing', async () => {
    const commit = await stage(store);
    const first = await commitArtifact(store, commit);
    await store.removePrefix('staging');
    expect(await commitArtifact(store, { ...commit, manifest: { ...commit.manifest, createdAt: '2026-11-02T00:00:00Z' } })).toEqual(first);
  });

  test('a partial copy of an earlier try is copied again', async () => {
    const commit = await stage(store);
    await store.put(`${prefix}/img_emb/img_emb_00000.npy`, 'vec');
    await commitArtifact(store, commit);
    expect((await store.getBytes(`${prefix}/img_emb/img_emb_00000.npy`)).toString()).toBe('vectors');
  });

  test('a changed part is named with the expected and the actual digest', async () => {
    const commit = await stage(store);
    await store.put('staging/att_1/img_emb/img_emb_00000.npy', 'VECTORS');
    await expect(commitArtifact(store, commit)).rejects.toMatchObject({
      code: 'corrupt_artifact',
      message: `The object ${prefix}/img_emb/img_emb_00000.npy has the sha256 ${sha256('VECTORS')}, expected ${sha256('vectors')}.`,
    });
    await store.put('staging/att_1/img_emb/img_emb_00000.npy', 'longer vectors');
    await expect(commitArtifact(store, commit)).rejects.toThrow('has 14 bytes, expected 7');
    await expect(readManifest(store, prefix)).rejects.toMatchObject({ code: 'not_found' });
  });

  test('each missing or changed part is named, and the others are copied', async () => {
    const commit = await stage(store);
    await store.put('staging/att_1/img_emb/img_emb_00000.npy', 'VECTORS');
    await store.remove('staging/att_1/metadata/metadata_00000.parquet');
    const error: unknown = await commitArtifact(store, commit).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ code: 'corrupt_artifact', message: expect.stringContaining('applies to 1 more part') });
    expect(faultyParts.parse(error instanceof CairnError ? error.details : null).names).toEqual([
      'img_emb/img_emb_00000.npy',
      'metadata/metadata_00000.parquet',
    ]);
    expect(Object.keys(await content(store))).toContain(`${prefix}/rejected.parquet`);
  });

  test('the slower of two commits of the same files, wherever it resumes, leaves the artifact as the faster one made it', async () => {
    const commit = await stage(store);
    await commitArtifact(store, commit);
    const expected = await content(store);
    const removed: string[] = [];
    for (const call of ['list', 'copy', 'get', 'put'] as const) {
      await store.removePrefix(prefix);
      let isFirst = true;
      const others = async () => {
        if (isFirst) await commitArtifact(store, commit);
        isFirst = false;
      };
      // The other commit does all its work between the check for a manifest and this call.
      const slow: ObjectStore = {
        ...store,
        async *list(...args) {
          if (call === 'list') await others();
          yield* store.list(...args);
        },
        copy: async (...args) => {
          if (call === 'copy') await others();
          return store.copy(...args);
        },
        get: async (...args) => {
          if (call === 'get') await others();
          return store.get(...args);
        },
        remove: async (key, signal) => {
          removed.push(key);
          return store.remove(key, signal);
        },
        put: async (...args) => {
          if (call === 'put') await others();
          return store.put(...args);
        },
      };
      await commitArtifact(slow, commit);
      expect(await content(store), call).toEqual(expected);
    }
    // Not even the other commit's manifest, for a moment.
    expect(removed).toEqual([]);
  });

  test('a part that does not exist is named', async () => {
    const commit = await stage(store);
    await store.remove('staging/att_1/rejected.parquet');
    await expect(commitArtifact(store, commit)).rejects.toMatchObject({
      code: 'not_found',
      message: expect.stringContaining('rejected.parquet'),
    });
  });

  test('an artifact is never replaced by one with different content', async () => {
    const commit = await stage(store);
    await commitArtifact(store, commit);
    await expect(commitArtifact(store, { ...commit, files: commit.files.slice(1) })).rejects.toMatchObject({ code: 'corrupt_artifact' });
  });

  test.each([
    ['is not JSON', () => '{'],
    ['does not match its schema', () => '{"kind":"features"}'],
    ['gives the digest', (text: string) => text.replace('img_emb_00000', 'img_emb_00001')],
    ['does not match its schema', (text: string) => text.replace('img_emb/img_emb_00000.npy', '../../../etc/passwd')],
  ])('a manifest that %s is refused', async (message, damage) => {
    await commitArtifact(store, await stage(store));
    const key = `${prefix}/manifest.json`;
    await store.put(key, damage((await store.getBytes(key)).toString()));
    await expect(readManifest(store, prefix)).rejects.toMatchObject({
      code: 'corrupt_artifact',
      message: expect.stringContaining(message),
    });
  });
}
