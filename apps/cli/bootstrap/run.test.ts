import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { BootstrapError, describeFailure } from './layout.mjs';
import { runLogged, runProgram } from './run-logged.mjs';

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

const module = new URL('./run-logged.mjs', import.meta.url).href;

/** A process that runs `script` through runProgram and exits with its code. */
function start(script: string) {
  const wrapper = `import { runProgram } from ${JSON.stringify(module)};
    process.exitCode = await runProgram(process.execPath, ['-e', ${JSON.stringify(script)}], process.env);`;
  return spawn(process.execPath, ['--input-type=module', '-e', wrapper], {
    cwd: fileURLToPath(new URL('.', import.meta.url)),
    stdio: ['ignore', 'pipe', 'pipe'],
  });
}

describe('a program that runs in place of the bootstrap', () => {
  test('passes on its exit code', async () => {
    const [code] = await once(start('process.exitCode = 42'), 'exit');
    expect(code).toBe(42);
  });

  test('gets a signal once although npm and the terminal both send it, and ends in its own time', async () => {
    const child = start(`
      let terms = 0;
      process.on('SIGTERM', () => { terms += 1; console.log('term'); });
      process.on('SIGHUP', () => setImmediate(() => process.exit(10 + terms)));
      setInterval(() => {}, 1000);
      console.log('ready');`);
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      if (text.includes('ready')) for (let i = 0; i < 2; i += 1) process.nextTick(() => child.kill('SIGTERM'));
      if (text.includes('term')) child.kill('SIGHUP');
    });
    const [code] = await once(child, 'exit');
    expect(code).toBe(11);
  });

  test('is asked to end when its time is up', async () => {
    const limit = new AbortController();
    const end = runProgram(process.execPath, ['-e', 'setInterval(() => {}, 1000)'], process.env, {
      output: 'ignore',
      signal: limit.signal,
    });
    limit.abort();
    expect(await end).toBe(143);
  });

  test('ended by a signal exits with 128 + its number', async () => {
    const [code] = await once(start("process.kill(process.pid, 'SIGKILL')"), 'exit');
    expect(code).toBe(137);
  });
});
