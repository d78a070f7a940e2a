import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { identityOf } from '@cairn/runtime';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { lockHome } from './home-lock.ts';

let home: string;
let file: string;
beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), 'lock-'));
  file = join(home, 'up.json');
});
afterEach(() => rmSync(home, { recursive: true }));

test('a second service on a home is refused, with the holder and its address', () => {
  const lock = lockHome(file, home);
  expect(() => lockHome(file, home)).toThrow(`A service already runs on ${home}: process ${process.pid}, started just now`);
  lock.noteUrl('http://127.0.0.1:8080');
  expect(() => lockHome(file, home)).toThrow('at http://127.0.0.1:8080');
  lock.release();
  lockHome(file, home).release();
  expect(existsSync(file)).toBe(false);
});

test('the lock of a process that is gone is taken over, and leaves nothing behind', async () => {
  const child = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)']);
  await once(child, 'spawn');
  const identity = identityOf(child.pid ?? 0);
  writeFileSync(file, JSON.stringify({ process: identity, startedAt: new Date().toISOString(), url: null }));
  expect(() => lockHome(file, home)).toThrow(`process ${child.pid}`);
  child.kill('SIGKILL');
  await once(child, 'exit');
  lockHome(file, home);
  expect(JSON.parse(readFileSync(file, 'utf8')).process.pid).toBe(process.pid);
  expect(readdirSync(home)).toEqual(['up.json']);
});

test('a pid that now belongs to another program does not hold the lock', () => {
  const self = identityOf(process.pid);
  writeFileSync(file, JSON.stringify({ process: { ...self, startTicks: 1 }, startedAt: new Date().toISOString(), url: null }));
  expect(() => lockHome(file, home)).not.toThrow();
});
