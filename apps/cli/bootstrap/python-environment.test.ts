import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { describePipLine, environmentKey, readyPython } from './python-environment.mjs';

let root: string;
let env: NodeJS.ProcessEnv;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'cairn-python-'));
  env = { XDG_CACHE_HOME: join(root, 'cache') };
  await mkdir(join(root, 'docker', 'trainer'), { recursive: true });
  await writeFile(join(root, 'docker/trainer/requirements.txt'), 'torch==1\n');
  await writeFile(join(root, 'docker/trainer/requirements-dev.txt'), '-r requirements.txt\npytest==1\n');
});
afterEach(() => rm(root, { recursive: true }));

async function makeEnvironment({ complete = true, interpreter = process.execPath } = {}): Promise<string> {
  const folder = join(root, 'cache', 'cairn', 'python', `${await environmentKey(root)}-py3.11`);
  await mkdir(join(folder, 'bin'), { recursive: true });
  await symlink(interpreter, join(folder, 'bin', 'python'));
  if (complete) await writeFile(join(folder, 'cairn-complete.json'), '{}');
  return join(folder, 'bin', 'python');
}

describe('the Python environment', () => {
  test('is not ready on a machine that never created one', async () => {
    expect(await readyPython(root, env)).toBeNull();
  });

  test('is found again when it is complete', async () => {
    expect(await readyPython(root, { ...env, CAIRN_PYTHON: '' })).toBe(null);
    const python = await makeEnvironment();
    expect(await readyPython(root, env)).toBe(python);
  });

  test('does not count while it is half made, or when its interpreter was removed', async () => {
    const python = await makeEnvironment({ complete: false });
    expect(await readyPython(root, env)).toBeNull();
    await rm(join(python, '..', '..'), { recursive: true });
    await makeEnvironment({ interpreter: join(root, 'removed') });
    expect(await readyPython(root, env)).toBeNull();
  });

  test('is a different one when either requirements file changes', async () => {
    await makeEnvironment();
    await writeFile(join(root, 'docker/trainer/requirements.txt'), 'torch==2\n');
    expect(await readyPython(root, env)).toBeNull();
  });

  test("is the user's own when CAIRN_PYTHON names it", async () => {
    await makeEnvironment();
    expect(await readyPython(root, { ...env, CAIRN_PYTHON: '/opt/python' })).toBe('/opt/python');
  });
});

test.each([
  ['Collecting torch==2.15.0 (from -r requirements.txt (line 1))', 'looking up torch'],
  ['  Downloading torch-2.15.0-cp311-cp311-manylinux_2_28_x86_64.whl (887.9 MB)', 'downloading torch (887.9 MB)'],
  ['  Using cached nvidia_cublas-13.1.0-py3-none-manylinux_2_27_x86_64.whl (423.1 MB)', 'cached nvidia_cublas (423.1 MB)'],
  ['Installing collected packages: mpmath, sympy, torch', 'unpacking the packages'],
  ['  Preparing metadata (pyproject.toml): started', null],
])('the pip output %j is shown as %j', (line, text) => {
  expect(describePipLine(line)).toBe(text);
});
