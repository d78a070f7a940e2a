import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { BootstrapError, describeFailure } from './bootstrap-error.mjs';
import { runLogged } from './run-logged.mjs';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'cairn-logged-'));
});
afterEach(() => rm(folder, { recursive: true }));

const step = (script: string) => ({
  title: 'the npm packages',
  command: process.execPath,
  args: ['-e', script],
  cwd: folder,
  env: process.env,
  log: join(folder, 'logs', 'npm.log'),
  folders: [join(folder, 'not', 'yet', 'made')],
  timeoutMs: 15_000,
  signal: new AbortController().signal,
});

async function failureOf(work: Promise<void>): Promise<BootstrapError> {
  const error = await work.then(
    () => null,
    (cause: unknown) => cause,
  );
  if (!(error instanceof BootstrapError)) throw new Error(`not a BootstrapError: ${error}`);
  return error;
}

describe('an installer', () => {
  test('that succeeds reports its lines and leaves no log', async () => {
    const lines: string[] = [];
    const script = 'process.stdout.write("one\\ntw"); process.stdout.write("o\\n"); console.error("three")';
    await runLogged({ ...step(script), onLine: (line) => lines.push(line) });
    expect(lines.sort()).toEqual(['one', 'three', 'two']);
    expect(existsSync(join(folder, 'logs', 'npm.log'))).toBe(false);
  });

  test('that fails is reported with its last lines, and its whole log is kept', async () => {
    const error = await failureOf(runLogged(step('for (let i = 1; i <= 40; i++) console.log("line", i); process.exitCode = 3')));
    const log = join(folder, 'logs', 'npm.log');
    const text = describeFailure(error);
    expect(text).toContain('cairn: the npm packages could not be installed (exit code 3).');
    expect(text).toContain(`Last lines of ${log}:\n    line 26\n`);
    expect(text).toMatch(/line 40\n {2}What to do: read the log/);
    expect((await readFile(log, 'utf8')).split('\n')).toHaveLength(41);
  });

  test('that cannot reach its registry is reported as a network error', async () => {
    const error = await failureOf(
      runLogged(step('console.error("npm error network request failed, reason: getaddrinfo ENOTFOUND"); process.exitCode = 1')),
    );
    expect(error.remedy).toMatch(/^the package registry could not be reached/);
  });

  test('that fills the disk is reported with the free space of the folders it writes to', async () => {
    const error = await failureOf(runLogged(step('console.error("OSError: [Errno 28] No space left on device"); process.exitCode = 1')));
    expect(error.remedy).toContain(`${join(folder, 'not', 'yet', 'made')} (`);
    expect(error.remedy).toMatch(/\d+ MiB free now/);
  });

  test('that does not exist is reported by its name', async () => {
    const error = await failureOf(runLogged({ ...step(''), command: 'no-such-installer' }));
    expect(error.message).toContain('no-such-installer');
  });

  test('that takes too long is stopped', async () => {
    const error = await failureOf(runLogged({ ...step('setInterval(() => {}, 1000)'), timeoutMs: 300 }));
    expect(error.message).toContain('it took longer than');
  });

  test('stops when the user interrupts, with the reason of the interruption', async () => {
    const controller = new AbortController();
    const work = runLogged({
      ...step('console.log("up"); setInterval(() => {}, 1000)'),
      signal: controller.signal,
      onLine: () => controller.abort(new Error('interrupted')),
    });
    await expect(work).rejects.toThrow('interrupted');
  });
});
