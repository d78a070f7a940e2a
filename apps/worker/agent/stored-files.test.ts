import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { commitArtifact } from '@cairn/storage';
import { expect, test } from 'vitest';
import { openAttempt } from '../testing/open-attempt.ts';
import { artifactOf, specOf } from '../testing/specs.ts';
import { fetchArtifact, withImportNames } from './stored-files.ts';

test('a message about an imported file has the name of the import; other messages stay unchanged', () => {
  const files = { 'weights.pth': Buffer.from('x') };
  const details = { imported: 'resnet50-19c8e357', backbone: 'resnet50', source: null, licence: null };
  const weights = artifactOf('weights', 'weights/art_1/', files, details);
  const start = artifactOf('checkpoint', 'checkpoints/art_2/', { 'checkpoint.pt': Buffer.from('y') });
  const context = { spec: specOf('train', { inputs: { weights, start } }), workDir: '/work' };
  const path = `/work/inputs/${weights.id}/weights.pth`;
  expect(withImportNames(context, `${path} wants to call os.system.`)).toBe(`resnet50-19c8e357 (${path}) wants to call os.system.`);
  const own = `/work/inputs/${start.id}/checkpoint.pt is empty.`;
  expect(withImportNames(context, own)).toBe(own);
});

test('an artifact without a list of files has those of its manifest, which must have the digest that the control plane knows', async () => {
  const { context, store } = await openAttempt(specOf('search'));
  const files = [];
  for (const name of ['img_emb/img_emb_00000.npy', 'metadata/metadata_00000.parquet']) {
    const { bytes, sha256 } = await store.put(`staging/att_1/${name}`, name);
    files.push({ name, from: `staging/att_1/${name}`, bytes, sha256 });
  }
  const index = artifactOf('features', 'features/art_1/', {});
  const manifest = { kind: 'features', id: index.id, protocol: 1, createdAt: '2026-11-01T12:00:00Z', details: {} } as const;
  const { digest } = await commitArtifact(store, { prefix: 'features/art_1', files, manifest });
  const folder = await fetchArtifact(context, { ...index, digest });
  for (const { name } of files) expect(readFileSync(join(folder, name), 'utf8')).toBe(name);
  await expect(fetchArtifact(context, index)).rejects.toMatchObject({
    code: 'corrupt_artifact',
    message: expect.stringContaining('digest'),
  });
});
