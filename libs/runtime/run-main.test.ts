import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { afterEach, expect, test } from 'vitest';
import { freePort } from './probes.ts';
import { createCloser } from './run-main.ts';

const children = new Set<ChildProcess>();
afterEach(() => {
  for (const child of children) child.kill('SIGKILL');
  children.clear();
});

/** Starts the fixture; `ready` is its first output, `ended` its code and all that it wrote. */
function start(...args: string[]) {
  const child = spawn(process.execPath, [new URL('./fixtures/program.ts', import.meta.url).pathname, ...args]);
  children.add(child);
  let stdout = '';
  let stderr = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    stdout += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
  });
  const ended = once(child, 'close').then(([code]) => ({ code: Number(code), stdout, stderr }));
  return { child, ready: once(child.stdout, 'data'), ended };
}

test.each(['SIGTERM', 'SIGINT', 'SIGHUP'] as const)('%s closes all parts, the last created first, and exits with 0', async (signal) => {
  const { child, ready, ended } = start('serve');
  await ready;
  child.kill(signal);
  expect(await ended).toEqual({ code: 0, stdout: 'ready\nserver closed\npool closed\n', stderr: '' });
});

test('a part that does not close is given up after its limit, named, and the program exits with 1', async () => {
  const { child, ready, ended } = start('stubborn');
  await ready;
  child.kill('SIGTERM');
  const { code, stderr } = await ended;
  expect(code).toBe(1);
  expect(stderr).toContain('stream was not closed within 300 ms');
});

test('a second signal ends the program at once', async () => {
  const { child, ready, ended } = start('stubborn');
  await ready;
  child.kill('SIGTERM');
  await once(child.stdout, 'data');
  child.kill('SIGTERM');
  expect((await ended).code).toBe(143);
});

test('a start that is stopped halfway closes the parts it had created and exits with 0', async () => {
  const { child, ready, ended } = start('slowStart');
  await ready;
  child.kill('SIGTERM');
  expect(await ended).toMatchObject({ code: 0, stdout: 'ready\npool closed\n', stderr: '' });
});

test('a command exits with its own code', async () => {
  expect((await start('command').ended).code).toBe(3);
});

test('a wrong configuration is reported with its remedy, without a stack, and exits with 78', async () => {
  const { code, stdout, stderr } = await start('misconfigured').ended;
  expect(code).toBe(78);
  expect(stdout).toBe('pool closed\n');
  expect(stderr).toMatch(/^error: The configuration has an error:\n {2}PORT is missing\n {2}Correct every setting/);
  expect(stderr).not.toContain('    at ');
});

test('debug shows the stack', async () => {
  expect((await start('misconfigured', '--debug').ended).stderr).toContain('    at ');
});

test('a port in use is named', async () => {
  const port = await freePort();
  const holder = createServer().listen(port, '127.0.0.1');
  await once(holder, 'listening');
  const { code, stderr } = await start('busyPort', String(port)).ended;
  holder.close();
  expect(code).toBe(1);
  expect(stderr).toContain(`error: Another program listens on 127.0.0.1:${port}.\n  Stop the program that uses the port`);
});

test('a bug closes all parts, shows its stack and exits with 1', async () => {
  const { code, stdout, stderr } = await start('crash').ended;
  expect(code).toBe(1);
  expect(stdout).toBe('pool closed\n');
  expect(stderr).toMatch(/error: TypeError: a bug\n {4}at /);
});

test('parts are closed one after another, the last created first', async () => {
  const closer = createCloser();
  const order: string[] = [];
  const slow = Promise.withResolvers<void>();
  closer.add('pool', () => order.push('pool'));
  closer.add('server', async () => {
    await slow.promise;
    order.push('server');
  });
  const closing = closer.close();
  setImmediate(slow.resolve);
  await closing;
  expect(order).toEqual(['server', 'pool']);
});

test('one failure does not keep the others open, and all failures are reported', async () => {
  const closer = createCloser();
  const closed: string[] = [];
  closer.add('pool', () => closed.push('pool'));
  closer.add('queue', () => {
    throw new Error('socket gone');
  });
  closer.add('server', () => Promise.reject(new Error('still busy')));
  const failure = await closer.close().catch((error: unknown) => error);
  expect(closed).toEqual(['pool']);
  expect(failure).toBeInstanceOf(AggregateError);
  expect((failure as AggregateError).errors.map((error: Error) => error.message)).toEqual([
    'server could not be closed: still busy',
    'queue could not be closed: socket gone',
  ]);
});

test('a part that does not close in time is named, and the rest are still closed', async () => {
  const closer = createCloser();
  const closed: string[] = [];
  closer.add('pool', () => closed.push('pool'));
  closer.add('stream', () => new Promise(() => {}));
  await expect(closer.close(20)).rejects.toThrow('stream was not closed within 20 ms');
  expect(closed).toEqual(['pool']);
});

test('closing twice closes once', async () => {
  const closer = createCloser();
  let times = 0;
  closer.add('pool', () => {
    times += 1;
  });
  await Promise.all([closer.close(), closer.close()]);
  expect(times).toBe(1);
});

test('nothing can be added once closing has begun', async () => {
  const closer = createCloser();
  await closer.close();
  expect(() => closer.add('late', () => {})).toThrow('late was created while the program was closing');
});
