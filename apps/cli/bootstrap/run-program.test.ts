import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { runProgram } from './run-program.mjs';

const module = new URL('./run-program.mjs', import.meta.url).href;

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
