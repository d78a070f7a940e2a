import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { expect, test } from 'vitest';
import { makeRunFolder, removeRunFolder, sweepRunFolders } from './run-folder.ts';

test('the sweep removes the folders of killed runs, not those of running ones', async () => {
  const mine = await makeRunFolder();
  const gone = spawn(process.execPath, ['--version'], { stdio: 'ignore' });
  await once(gone, 'exit');
  const theirs = join(dirname(mine), `cairn-test-${gone.pid}-abc`);
  await mkdir(join(theirs, 'postgres'), { recursive: true });
  expect(await sweepRunFolders()).toBeGreaterThanOrEqual(1);
  await expect(stat(theirs)).rejects.toMatchObject({ code: 'ENOENT' });
  expect((await stat(mine)).isDirectory()).toBe(true);
  await removeRunFolder(mine);
});
