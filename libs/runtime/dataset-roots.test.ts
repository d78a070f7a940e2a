import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { z } from 'zod';
import { readConfiguration } from './configuration.ts';
import { datasetRootsEnvironment, datasetRootsVariables, readDatasetRoots } from './dataset-roots.ts';

const schema = z.object(datasetRootsVariables);

test('the folders of the variable and of the file are allowed, none without them, and child programs get the same', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'cairn-roots-'));
  onTestFinished(() => rm(folder, { recursive: true }));
  const file = join(folder, 'roots.json');
  const env = { CAIRN_DATASET_ROOTS: '/data:/mnt/glr', CAIRN_DATASET_ROOTS_FILE: file };
  const configuration = readConfiguration(schema, env);
  expect(await readDatasetRoots(configuration)).toEqual(['/data', '/mnt/glr']);
  await writeFile(file, '["/home/ada/images"]');
  expect(await readDatasetRoots(configuration)).toEqual(['/data', '/mnt/glr', '/home/ada/images']);
  expect(datasetRootsEnvironment(configuration)).toEqual(env);
  expect(await readDatasetRoots(readConfiguration(schema, {}))).toEqual([]);
  await writeFile(file, '["relative"]');
  await expect(readDatasetRoots(configuration)).rejects.toMatchObject({ code: 'invalid_configuration' });
  expect(() => readConfiguration(schema, { CAIRN_DATASET_ROOTS: 'relative' })).toThrow(/CAIRN_DATASET_ROOTS/);
});
