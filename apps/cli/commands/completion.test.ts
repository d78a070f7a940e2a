import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { startStubApi } from '@cairn/client/testing';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { runTestCli } from '../testing/test-cli.ts';

const run = promisify(execFile);
let folder: string;
let script: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'completion-'));
  script = join(folder, 'cairn.bash');
  await writeFile(script, (await runTestCli(['completion', 'bash'])).out);
});
afterAll(() => rm(folder, { recursive: true }));

/** The candidates that bash offers for the last word of a line; `cairn names runs` returns two names. */
async function offered(line: string): Promise<string[]> {
  const words = line.split(' ').map((word) => `'${word}'`);
  const program = `cairn() { [ "$*" = "names runs" ] && printf 'mini-1\\nmini-2\\n'; }
source ${script}
COMP_WORDS=(${words.join(' ')}); COMP_CWORD=${words.length - 1}; _cairn; printf '%s\\n' "\${COMPREPLY[@]}"`;
  const { stdout } = await run('bash', ['--norc', '-c', program], { timeout: 10_000 });
  return stdout.split('\n').filter((word) => word !== '');
}

describe('the script for bash', () => {
  test('can be read by bash', async () => {
    await expect(run('bash', ['-n', script], { timeout: 10_000 })).resolves.toMatchObject({ stderr: '' });
  });

  test('offers commands, then subcommands, but no hidden ones', async () => {
    expect(await offered('cairn re')).toEqual(['release', 'retry', 'recipes', 'recipe', 'rejected', 'retention']);
    expect(await offered('cairn dataset ')).toEqual(['add', 'show']);
    expect(await offered('cairn n')).toEqual([]);
  });

  test("offers a command's options and the global ones", async () => {
    expect(await offered('cairn submit --re')).toEqual(['--recipe']);
    expect(await offered('cairn submit --j')).toEqual(['--json']);
    expect(await offered('cairn --json dataset add --co')).toEqual(['--countries']);
  });

  test('offers the choices of options and arguments', async () => {
    expect(await offered('cairn runs --state c')).toEqual(['cancelling', 'cancelled']);
    expect(await offered('cairn tokens create ci --role ')).toEqual(['viewer', 'submitter', 'admin']);
    expect(await offered('cairn completion ')).toEqual(['bash', 'zsh', 'fish']);
  });

  test("offers the service's names, and file names where a file is expected", async () => {
    expect(await offered('cairn watch ')).toEqual(['mini-1', 'mini-2']);
    // None of its own: bash then offers files (complete -o default).
    expect(await offered('cairn submit --file ')).toEqual([]);
  });
});

test('the scripts for zsh and fish have every command', async () => {
  for (const shell of ['zsh', 'fish']) {
    const { code, out } = await runTestCli(['completion', shell]);
    expect(code).toBe(0);
    for (const name of ['submit', 'watch', 'dataset', 'tokens']) expect(out).toContain(name);
    expect(out).toContain('cairn names runs');
  }
  expect((await runTestCli(['completion', 'tcsh'])).code).toBe(2);
});

test('names come from the service, each once and none that a shell would execute; without a service there are none, and no error', async () => {
  const api = await startStubApi();
  api.on('GET', '/v1/recipes', () => ({
    items: ['mini', '$(touch /tmp/x)', '`id`', 'tiny'].map((name) => ({ name, description: '', stages: [] })),
  }));
  try {
    expect(await runTestCli(['names', 'recipes'], { url: api.url })).toEqual({ code: 0, out: 'mini\ntiny\n', err: '' });
  } finally {
    await api.close();
  }
  expect(await runTestCli(['names', 'runs'])).toEqual({ code: 0, out: '', err: '' });
});
