import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import {
  claimWorkDir,
  createExclusive,
  identityOf,
  isAlive,
  isSameProcess,
  parseStat,
  readAgent,
  readExit,
  writeExit,
} from './process-record.ts';

function folder(): string {
  const path = mkdtempSync(join(tmpdir(), 'cairn-record-'));
  onTestFinished(() => rmSync(path, { recursive: true }));
  return path;
}

test('a reused pid is another process: its start or boot differs', () => {
  const process = { pid: 42, startTicks: 1000, bootId: 'a' };
  expect(isSameProcess(process, { ...process })).toBe(true);
  expect(isSameProcess(process, { ...process, startTicks: 1001 })).toBe(false);
  expect(isSameProcess(process, { ...process, bootId: 'b' })).toBe(false);
});

test('the start of a process is parsed after a command with spaces and parentheses', () => {
  const fields = Array.from({ length: 30 }, (_, index) => String(index + 4));
  expect(parseStat(`42 (a) S (b c) R ${fields.join(' ')}`)).toEqual({ state: 'R', startTicks: 22 });
  expect(parseStat('')).toBeNull();
});

test('this process is alive, and one with the same pid but another start is not', () => {
  const self = identityOf(process.pid);
  expect(self).not.toBeNull();
  if (self === null) return;
  expect(isAlive(self)).toBe(true);
  expect(isAlive({ ...self, startTicks: self.startTicks - 1 })).toBe(false);
});

test('a zombie counts as gone', async () => {
  // The shell's first child becomes a zombie: `exec` replaces the shell by a program that reaps no children.
  const parent = spawn('sh', ['-c', 'sleep 0 & echo $!; exec sleep 60'], { stdio: ['ignore', 'pipe', 'inherit'] });
  onTestFinished(() => void parent.kill('SIGKILL'));
  const [line] = await once(parent.stdout, 'data');
  await expect.poll(() => identityOf(Number(String(line))), { timeout: 45_000 }).toBeNull();
});

test('the first process to claim a work folder gets it', () => {
  const workDir = folder();
  expect(readAgent(workDir)).toBeNull();
  expect(claimWorkDir(workDir, { attemptId: 'att_1', generation: 1 })).toBe(true);
  expect(claimWorkDir(workDir, { attemptId: 'att_1', generation: 2 })).toBe(false);
  expect(readAgent(workDir)).toMatchObject({ attemptId: 'att_1', generation: 1, process: { pid: process.pid } });
});

test('the exit code is stored, and no temporary file is left', () => {
  const workDir = folder();
  expect(readExit(workDir)).toBeNull();
  writeExit(workDir, 75);
  writeExit(workDir, 79);
  createExclusive(join(workDir, 'exit.json'), {});
  expect(readExit(workDir)).toBe(79);
  expect(readdirSync(workDir)).toEqual(['exit.json']);
});

test('a file that is not a record of ours is an error that names the file', () => {
  const workDir = folder();
  writeFileSync(join(workDir, 'exit.json'), '{"code":');
  expect(() => readExit(workDir)).toThrow(/exit\.json is not a record/);
});
