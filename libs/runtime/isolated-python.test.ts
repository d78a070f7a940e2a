import { execFile } from 'node:child_process';
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { trainerPython } from '@cairn/testing';
import { expect, onTestFinished, test } from 'vitest';
import { isolatedPython, withoutPythonVariables } from './isolated-python.ts';

test('nothing in the current folder or PYTHONPATH is imported, whatever its name', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'cairn-isolated-'));
  onTestFinished(() => rm(folder, { recursive: true }));
  const planted = ['json.py', 'pyarrow.py', 'cairn_trainer.py', 'sitecustomize.py', 'runpy.py'].toSorted();
  for (const name of planted) await writeFile(join(folder, name), `open(${JSON.stringify(join(folder, 'harmed'))}, 'w')\n`);
  const { stdout } = await promisify(execFile)(trainerPython(), isolatedPython('cairn_trainer.import_lists', ['--help']), {
    cwd: folder,
    env: { ...process.env, PYTHONPATH: folder, PYTHONSTARTUP: join(folder, 'json.py') },
  });
  expect(stdout).toContain('python -m cairn_trainer.import_lists');
  expect((await readdir(folder)).toSorted()).toEqual(planted);
});

test("the program's own children get no Python variables, but all others", () => {
  expect(withoutPythonVariables({ PATH: '/bin', PYTHONPATH: '/tmp', PYTHONHOME: '/x', HOME: undefined })).toEqual({
    PATH: '/bin',
    HOME: undefined,
    PYTHONSAFEPATH: '1',
    PYTHONNOUSERSITE: '1',
  });
});
