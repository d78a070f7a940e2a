import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { changedPaths, commitCount } from './changed-paths.ts';

const folder = mkdtempSync(join(tmpdir(), 'cairn-changed-'));
const at = (hours: number) => `${1_800_000_000 + hours * 3600} +0000`;

function git(args: string[], date = at(0), cwd = folder) {
  const env = { ...process.env, GIT_CONFIG_GLOBAL: '/dev/null', GIT_AUTHOR_DATE: date, GIT_COMMITTER_DATE: date };
  return execFileSync('git', ['-c', 'user.name=A', '-c', 'user.email=a@example.org', ...args], { cwd, env, encoding: 'utf8' }).trim();
}

function commit(path: string, hours: number) {
  writeFileSync(join(folder, path), `${hours}`);
  git(['add', '.']);
  git(['commit', '--quiet', '--message', path], at(hours));
  return git(['rev-parse', 'HEAD']);
}

let old = '';
beforeAll(() => {
  git(['init', '--quiet']);
  commit('first', 0);
  old = commit('old', 10);
  commit('recent', 30);
  commit('new', 31);
  writeFileSync(join(folder, 'new'), 'not committed');
  writeFileSync(join(folder, 'untracked'), '');
});
afterAll(() => rmSync(folder, { recursive: true }));

test('without a base, what changed in the last half day counts, committed or not', () => {
  expect(changedPaths(folder, '')).toEqual({ base: old, paths: ['new', 'recent', 'untracked'] });
  expect(commitCount(folder)).toBe(4);
});

test('with a base, what changed since it counts, and one that is not there is refused', () => {
  expect(changedPaths(folder, 'HEAD~3').paths).toEqual(['new', 'old', 'recent', 'untracked']);
  expect(() => changedPaths(folder, 'no-such-commit')).toThrow('no-such-commit, which is not a commit of this clone');
});

test('in a clone that does not reach back far enough nobody can tell', () => {
  const shallow = join(folder, 'shallow');
  git(['clone', '--quiet', '--depth', '1', pathToFileURL(folder).href, shallow]);
  expect(changedPaths(shallow, '')).toEqual({ base: null, paths: null });
});
