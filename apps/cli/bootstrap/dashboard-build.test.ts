import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { dashboardDigest, dashboardIsCurrent } from './dashboard-build.mjs';

test('the dashboard is built again when a source, a library or a package changes, and not for its tests', async () => {
  const root = await mkdtemp(join(tmpdir(), 'cairn-dashboard-'));
  onTestFinished(() => rm(root, { recursive: true }));
  const write = async (path: string, text: string) => {
    await mkdir(dirname(join(root, path)), { recursive: true });
    await writeFile(join(root, path), text);
  };
  await write('package-lock.json', '{}');
  await write('apps/dashboard/main.tsx', 'a page');
  await write('libs/client/index.ts', 'a client');
  await write('libs/contract/index.ts', 'a contract');
  expect(await dashboardIsCurrent(root)).toBe(false);

  const build = async () => write('apps/dashboard/dist/.cairn-built', await dashboardDigest(root));
  await build();
  await write('apps/dashboard/dist/assets/main.js', 'built');
  await write('apps/dashboard/pages/runs/runs.test.ts', 'a test');
  await write('apps/dashboard/testing/chromium.ts', 'for tests');
  expect(await dashboardIsCurrent(root)).toBe(true);

  for (const path of ['apps/dashboard/app/page.css', 'libs/contract/states.ts', 'package-lock.json']) {
    await build();
    await write(path, `changed: ${path}`);
    expect(await dashboardIsCurrent(root), path).toBe(false);
  }
});
