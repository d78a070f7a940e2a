import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CairnError } from '@cairn/contract';
import { expect, onTestFinished, test } from 'vitest';
import { z } from 'zod';
import { datasetRootsEnvironment, datasetRootsVariables, nearestName, readConfiguration, readDatasetRoots } from './configuration.ts';

const schema = z.object({
  DATABASE_URL: z.url().describe('the PostgreSQL database').meta({ example: 'postgres://user@host:5432/cairn', secret: true }),
  PORT: z.coerce.number().int().min(1).max(65535).default(8080).meta({ example: '8080' }),
  LOG_LEVEL: z.enum(['debug', 'info']).default('info'),
  PRETTY: z.stringbool().default(false),
  SERVER_KEY: z.string().min(16).meta({ secret: true }).optional(),
});

function faultOf(env: Record<string, string>): CairnError {
  try {
    readConfiguration(schema, env);
  } catch (error) {
    if (error instanceof CairnError) return error;
  }
  throw new Error('expected this configuration to be refused');
}

test('text becomes typed values, and absent variables get their defaults', () => {
  const env = { DATABASE_URL: 'postgres://localhost/cairn', PRETTY: 'true', PORT: '', UNRELATED: 'x' };
  expect(readConfiguration(schema, env)).toEqual({
    DATABASE_URL: 'postgres://localhost/cairn',
    PORT: 8080,
    LOG_LEVEL: 'info',
    PRETTY: true,
  });
});

test('all errors are reported at once, each with the variable, the problem and an example', () => {
  const error = faultOf({ PORT: 'many', LOG_LEVEL: 'loud', PRETTY: 'maybe' });
  expect(error.code).toBe('invalid_configuration');
  expect(error.message).toContain('4 errors');
  expect(error.message).toContain(
    'DATABASE_URL is missing: the PostgreSQL database (for example DATABASE_URL=postgres://user@host:5432/cairn)',
  );
  expect(error.message).toMatch(/PORT is "many": .*number.* \(for example PORT=8080\)/);
  expect(error.message).toMatch(/LOG_LEVEL is "loud": .*debug/);
  expect(error.message).toMatch(/PRETTY is "maybe"/);
});

test('the value of a secret is not part of any error', () => {
  const error = faultOf({ DATABASE_URL: 'hunter2', SERVER_KEY: 'short-key' });
  expect(error.message).not.toContain('hunter2');
  expect(error.message).not.toContain('short-key');
  expect(error.message).toContain('SERVER_KEY has an invalid value: too short, at least 16');
  expect(JSON.stringify(error.details)).not.toContain('hunter2');
});

test('a rule over several variables is reported in its own words', () => {
  const both = z
    .object({ QUEUE_URL: z.string().optional(), MODE: z.enum(['embedded', 'production']) })
    .refine((value) => value.MODE === 'embedded' || value.QUEUE_URL, {
      path: ['QUEUE_URL'],
      message: 'is required when MODE is production',
    });
  expect(() => readConfiguration(both, { MODE: 'production' })).toThrow('QUEUE_URL is required when MODE is production');
});

const rootsSchema = z.object(datasetRootsVariables);

test('the folders of the variable and of the file are allowed, none without them, and child programs get the same', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'cairn-roots-'));
  onTestFinished(() => rm(folder, { recursive: true }));
  const file = join(folder, 'roots.json');
  const env = { CAIRN_DATASET_ROOTS: '/data:/mnt/glr', CAIRN_DATASET_ROOTS_FILE: file };
  const configuration = readConfiguration(rootsSchema, env);
  expect(await readDatasetRoots(configuration)).toEqual(['/data', '/mnt/glr']);
  await writeFile(file, '["/home/ada/images"]');
  expect(await readDatasetRoots(configuration)).toEqual(['/data', '/mnt/glr', '/home/ada/images']);
  expect(datasetRootsEnvironment(configuration)).toEqual(env);
  expect(await readDatasetRoots(readConfiguration(rootsSchema, {}))).toEqual([]);
  await writeFile(file, '["relative"]');
  await expect(readDatasetRoots(configuration)).rejects.toMatchObject({ code: 'invalid_configuration' });
  expect(() => readConfiguration(rootsSchema, { CAIRN_DATASET_ROOTS: 'relative' })).toThrow(/CAIRN_DATASET_ROOTS/);
});

test('a typing error finds the intended name', () => {
  const known = ['epochs', 'learningRate', 'imageSize', 'mini'];
  expect(['epoch', 'Epochs', 'learning', 'imagesize', 'minni'].map((wrong) => nearestName(wrong, known))).toEqual([
    'epochs',
    'epochs',
    'learningRate',
    'imageSize',
    'mini',
  ]);
});

test('an entirely different name has no suggestion', () => {
  expect(nearestName('colour', ['epochs', 'mini'])).toBeNull();
  expect(nearestName('x', [])).toBeNull();
});
