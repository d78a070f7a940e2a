import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, rm, utimes, writeFile } from 'node:fs/promises';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { exclusively } from './exclusive.mjs';

let folder: string;
let lock: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'cairn-lock-'));
  lock = join(folder, 'deep', 'work.lock');
});
afterEach(() => rm(folder, { recursive: true }));

const never = new AbortController().signal;

/** Resolves when another call has seen that the lock is held. */
const untilAnotherWaits = () =>
  new Promise<void>((resolve) => {
    vi.spyOn(process.stderr, 'write').mockImplementation((text) => {
      if (String(text).includes('waiting for another preparation')) resolve();
      return true;
    });
  });

test('a cache folder that cannot be created is reported with what to do', async () => {
  await writeFile(join(folder, 'file'), '');
  const work = exclusively(join(folder, 'file', 'locks', 'work.lock'), never, async () => undefined);
  await expect(work).rejects.toMatchObject({
    message: expect.stringMatching(/^the cache folder .*locks cannot be created: .*ENOTDIR/),
    remedy: expect.stringContaining('XDG_CACHE_HOME'),
  });
});

test('two calls at once run one after the other, and the lock is gone afterwards', async () => {
  const order: string[] = [];
  let second = Promise.resolve();
  await exclusively(lock, never, async () => {
    const waits = untilAnotherWaits();
    second = exclusively(lock, never, async () => void order.push('second begins'));
    await waits;
    order.push('first ends');
  });
  await second;
  expect(order).toEqual(['first ends', 'second begins']);
  expect(existsSync(lock)).toBe(false);
});

test('work that fails releases the lock', async () => {
  await expect(exclusively(lock, never, () => Promise.reject(new Error('disk on fire')))).rejects.toThrow('disk on fire');
  expect(existsSync(lock)).toBe(false);
});

test('the lock of a process that is gone is taken over', async () => {
  await exclusively(lock, never, async () => undefined);
  const { pid } = spawnSync(process.execPath, ['--version']);
  await writeFile(lock, JSON.stringify({ pid, host: hostname() }));
  expect(await exclusively(lock, never, async () => 'done')).toBe('done');
});

test('the lock of another host is taken over when it was not touched for a minute', async () => {
  await exclusively(lock, never, async () => undefined);
  await writeFile(lock, JSON.stringify({ pid: 1, host: 'elsewhere' }));
  await utimes(lock, new Date(), new Date(Date.now() - 61_000));
  expect(await exclusively(lock, never, async () => 'done')).toBe('done');
});

test('waiting for a lock ends when the user interrupts', async () => {
  const controller = new AbortController();
  await exclusively(lock, never, async () => {
    const waits = untilAnotherWaits();
    const waiting = exclusively(lock, controller.signal, async () => 'never');
    await waits;
    controller.abort(new Error('interrupted'));
    await expect(waiting).rejects.toThrow();
  });
});
