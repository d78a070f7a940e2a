import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { findChromium } from './chromium.ts';

test('a Chromium is the one that is named, or one on PATH; without either and without apt-get the error says what to do', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'cairn-chromium-'));
  onTestFinished(() => rm(folder, { recursive: true }));
  const program = join(folder, 'google-chrome');
  const cache = { XDG_CACHE_HOME: join(folder, 'cache') };

  await expect(findChromium({ ...cache, PATH: folder })).rejects.toThrow(/install one .* or set CAIRN_CHROMIUM/);
  await writeFile(program, '#!/bin/sh\n');
  await expect(findChromium({ ...cache, CAIRN_CHROMIUM: program })).rejects.toThrow(`CAIRN_CHROMIUM is ${program}, which is not a program`);
  await chmod(program, 0o755);
  expect(await findChromium({ ...cache, CAIRN_CHROMIUM: program })).toBe(program);
  expect(await findChromium({ ...cache, PATH: `/nowhere:${folder}` })).toBe(program);
});
