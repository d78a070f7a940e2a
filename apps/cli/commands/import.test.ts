import { mkdtemp, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type StubApi, sendProblem, startStubApi } from '@cairn/client/testing';
import { trainerPython } from '@cairn/testing';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { runTestCli } from '../testing/test-cli.ts';

// What the command does with a service, from a real file to a run, is in imports.slow.test.ts.
let folder: string;
let api: StubApi;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'cairn-import-'));
  api = await startStubApi();
  api.on('GET', '/v1/weights/[^/]+', (_, response) => sendProblem(response, 'not_found', 'There are no such weights'));
});
afterAll(async () => {
  await api.close();
  await rm(folder, { recursive: true });
});

const path = (name: string): string => join(folder, name);
const cairn = (...args: string[]) =>
  runTestCli(['import', 'weights', ...args, '--backbone', 'resnet18'], { url: api.url, env: { CAIRN_PYTHON: trainerPython() } });

test('what can be told from the file alone is refused before anything is asked or read', async () => {
  expect(await cairn(path('none.pth'))).toMatchObject({ code: 2, err: expect.stringContaining(`There is no file ${path('none.pth')}`) });
  await writeFile(path('large.pth'), '');
  await truncate(path('large.pth'), 9 * 1024 ** 3);
  expect(await cairn(path('large.pth'))).toMatchObject({
    code: 2,
    err: expect.stringMatching(/has 9\.\d+ GB; at most 8\.\d+ GB are taken/),
  });
  await writeFile(path('a name.pth'), 'x');
  expect(await cairn(path('a name.pth'))).toMatchObject({ code: 2, err: expect.stringContaining('hint: Give one with --name.') });
  expect(api.requests).toEqual([]);
});

test('a pickle that would run code is refused by what it calls, runs nothing, and nothing is sent', async () => {
  const harmed = path('harmed');
  // Protocol 0: the global os.system, called with one text.
  await writeFile(path('evil.pth'), `cos\nsystem\n(S'touch ${harmed}'\ntR.`);
  const { code, err } = await cairn(path('evil.pth'));
  expect(err).toMatch(/^error: .*evil\.pth wants to call os\.system when it is read; .*\nhint: Take the file from its publisher again/);
  expect(code).toBe(2);
  await expect(rm(harmed)).rejects.toMatchObject({ code: 'ENOENT' });
  expect(api.requests.map(({ method }) => method)).toEqual(['GET']);
});

test('a Python without the packages is told as what it is', async () => {
  await writeFile(path('a.pth'), 'x');
  const run = (python: string) =>
    runTestCli(['import', 'weights', path('a.pth'), '--backbone', 'resnet18'], { url: api.url, env: { CAIRN_PYTHON: python } });
  expect((await run('/nowhere/python')).err).toContain('The interpreter /nowhere/python cannot be started');
  expect((await run('/bin/false')).err).toContain('hint: Set CAIRN_PYTHON to an interpreter that has the packages');
});
