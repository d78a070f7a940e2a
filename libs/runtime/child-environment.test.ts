import { execFile } from 'node:child_process';
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { trainerPython } from '@cairn/testing';
import { describe, expect, onTestFinished, test } from 'vitest';
import { describeProxies, isolatedPython, localAgentEnvironment, proxiesOf, withoutPythonVariables } from './child-environment.ts';

describe('the proxies of the environment', () => {
  test('are none without variables, or with only NO_PROXY', () => {
    expect(proxiesOf({})).toBeNull();
    expect(proxiesOf({ NO_PROXY: '*', HTTP_PROXY: '' })).toBeNull();
  });

  test('are those in lower case first; a bare name is an http address; loopback never has one', () => {
    const env = {
      HTTP_PROXY: 'http://upper:1',
      http_proxy: 'lower:3128',
      HTTPS_PROXY: 'http://ada:secret@secure:3128',
      NO_PROXY: 'a.org, .b.org',
    };
    expect(proxiesOf(env)).toMatchObject({ http_proxy: 'http://lower:3128', https_proxy: 'http://ada:secret@secure:3128' });
    expect(proxiesOf(env)?.no_proxy.split(',')).toEqual(expect.arrayContaining(['localhost', '127.0.0.1', '::1', 'a.org', '.b.org']));
    expect(describeProxies(env)).toBe('http by lower:3128, https by secure:3128');
  });

  test.each(['socks5://proxy:1080', 'http://', 'not an address'])('cannot be %s', (HTTPS_PROXY) => {
    expect(() => proxiesOf({ HTTPS_PROXY })).toThrow(/^HTTPS_PROXY is not the address/);
  });
});

test('an agent gets only the variables that any process needs and those that are named', () => {
  const env = {
    PATH: '/bin',
    HOME: '/root',
    PGPASSWORD: 'secret',
    CAIRN_SERVER_KEY: 'secret',
    REDIS_URL: 'secret',
    AWS_REGION: 'here',
    TMPDIR: undefined,
  };
  expect(localAgentEnvironment(env, (name) => name.startsWith('AWS_'))).toEqual({ PATH: '/bin', HOME: '/root', AWS_REGION: 'here' });
});

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
