import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { makeRunFolder, removeRunFolder } from '@cairn/testing';
import { afterAll, expect, test } from 'vitest';
import { z } from 'zod';

// Needs Go, npm and PyPI. The chart's script is tested in k8s/chart.cluster.test.ts, which has Helm; what pushes, only by a code host.

const actionlint = 'github.com/rhysd/actionlint/cmd/actionlint@v1.7.12';
const limitMs = 300_000;

const root = join(import.meta.dirname, '..', '..', '..', '..');
const folder = await makeRunFolder();
afterAll(() => removeRunFolder(folder));

const run = async (command: string, ...args: string[]): Promise<string> =>
  (await promisify(execFile)(command, args, { cwd: root, timeout: limitMs })).stdout;

test('the workflows pass actionlint, and name every action by a commit', { timeout: limitMs }, async () => {
  await run('go', 'run', actionlint, '-no-color', '.github/workflows/check.yml', '.github/workflows/release.yml');
  for (const name of ['check', 'release']) {
    const text = await readFile(join(root, `.github/workflows/${name}.yml`), 'utf8');
    const uses = [...text.matchAll(/uses: (\S+)/g)].map(([, action = '']) => action).filter((action) => !action.startsWith('./'));
    expect(uses.filter((action) => !/@[0-9a-f]{40}$/.test(action))).toEqual([]);
  }
});

test('a tag is released only if package.json and the chart have its version', async () => {
  const { version } = z.object({ version: z.string() }).parse(JSON.parse(await readFile(join(root, 'package.json'), 'utf8')));
  expect(await run('.ci/release/version', `v${version}`)).toBe(`${version}\n`);
  for (const tag of [version, 'v99.0.0']) await expect(run('.ci/release/version', tag)).rejects.toThrow('give all of them one version');
});

test('the bill of materials has what the lockfile and the requirements pin', { timeout: limitMs }, async () => {
  await run('.ci/release/sbom', folder);
  const bom = z.object({
    bomFormat: z.literal('CycloneDX'),
    components: z.array(z.object({ name: z.string(), version: z.string().optional() })),
  });
  const named = async (file: string) => bom.parse(JSON.parse(await readFile(join(folder, file), 'utf8'))).components;
  const npm = await named('npm.cdx.json');
  expect(npm.find(({ name }) => name === 'fastify')?.version).toMatch(/^\d/);
  // Only what the programs need.
  expect(npm.find(({ name }) => name === 'playwright-core')).toBeUndefined();
  expect((await named('python.cdx.json')).map(({ name }) => name)).toEqual(expect.arrayContaining(['torch', 'safetensors', 'onnxruntime']));
});
