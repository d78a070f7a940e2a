import { mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { chooseInterpreter, describePipLine, environmentKey, readyPython } from './python-environment.mjs';

let root: string;
let env: NodeJS.ProcessEnv;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'cairn-python-'));
  env = { XDG_CACHE_HOME: join(root, 'cache') };
  await mkdir(join(root, 'docker', 'trainer'), { recursive: true });
  await writeFile(join(root, 'docker/trainer/requirements.txt'), 'torch==1\n');
  await writeFile(join(root, 'docker/trainer/requirements-dev.txt'), '-r requirements.txt\npytest==1\n');
  await writeFile(join(root, 'docker/trainer/constraints.txt'), 'sympy==1\n');
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

  test.each(['requirements.txt', 'requirements-dev.txt', 'constraints.txt'])('is a different one when %s changes', async (file) => {
    await makeEnvironment();
    await writeFile(join(root, 'docker/trainer', file), 'torch==2\n');
    expect(await readyPython(root, env)).toBeNull();
  });

  test('is constrained to the versions that are required, on every supported Python', async () => {
    const trainer = fileURLToPath(new URL('../../../docker/trainer', import.meta.url));
    const pinsOf = async (file: string) =>
      (await readFile(join(trainer, file), 'utf8')).split('\n').flatMap((line) => {
        const [, name = '', version] = /^([\w.-]+)==([^\s;]+)/.exec(line) ?? [];
        return version === undefined ? [] : [`${name.toLowerCase().replaceAll('_', '-')}==${version}`];
      });
    const required = [...(await pinsOf('requirements.txt')), ...(await pinsOf('requirements-dev.txt'))];
    expect(required.length).toBeGreaterThan(10);
    // Made again as the head of constraints.txt says.
    expect(await pinsOf('constraints.txt')).toEqual(expect.arrayContaining(required));
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

type Interpreter = Parameters<typeof chooseInterpreter>[0][number];

const python = (version: [number, number, number], missing: Partial<Interpreter> = {}): Interpreter => ({
  command: 'python3',
  version,
  path: `/usr/bin/python${version[0]}.${version[1]}`,
  venv: true,
  ensurepip: true,
  pip: true,
  ...missing,
});

describe('the choice of a Python', () => {
  test('takes the first that is new enough', () => {
    expect(chooseInterpreter([python([3, 9, 2]), python([3, 12, 1]), python([3, 13, 0])]).version).toEqual([3, 12, 1]);
  });

  test('takes the oldest for which the pinned packages have wheels', () => {
    expect(chooseInterpreter([python([3, 9, 18]), python([3, 10, 0])]).version).toEqual([3, 10, 0]);
  });

  test('skips 3.14.1, which torchvision rejects, and says so when there is no other', () => {
    const refused = python([3, 14, 1]);
    expect(chooseInterpreter([refused, python([3, 10, 13])]).version).toEqual([3, 10, 13]);
    expect(chooseInterpreter([python([3, 14, 0])]).version).toEqual([3, 14, 0]);
    expect(chooseInterpreter([python([3, 14, 2])]).version).toEqual([3, 14, 2]);
    expect(() => chooseInterpreter([refused])).toThrow(
      'Python 3.10 or newer, but not 3.14.1, is needed; found Python 3.14.1 (/usr/bin/python3.14).',
    );
  });

  test('takes one too new for the pinned wheels only when there is no other', () => {
    expect(chooseInterpreter([python([3, 19, 0]), python([3, 11, 7])]).version).toEqual([3, 11, 7]);
    expect(chooseInterpreter([python([3, 19, 0])]).version).toEqual([3, 19, 0]);
  });

  test('prefers one that creates environments by itself to one that lends its pip', () => {
    const bare = python([3, 11, 2], { ensurepip: false });
    expect(chooseInterpreter([bare, python([3, 13, 0])]).version).toEqual([3, 13, 0]);
    expect(chooseInterpreter([bare])).toBe(bare);
  });

  test('names the package that Debian provides separately', () => {
    const bare = python([3, 11, 2], { ensurepip: false, pip: false });
    expect(() => chooseInterpreter([bare])).toThrow(
      expect.objectContaining({
        message: 'Python 3.11.2 (/usr/bin/python3.11) cannot make virtual environments: its modules venv and ensurepip are not installed.',
        remedy: expect.stringContaining('apt-get install python3.11-venv'),
      }),
    );
  });

  test('says what was found when all are too old, or none exists', () => {
    expect(() => chooseInterpreter([python([3, 8, 18]), python([3, 8, 18], { command: 'python' })])).toThrow(
      'Python 3.10 or newer is needed; found Python 3.8.18 (/usr/bin/python3.8).',
    );
    expect(() => chooseInterpreter([])).toThrow('found none');
  });
});
