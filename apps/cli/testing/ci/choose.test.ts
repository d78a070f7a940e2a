import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { scenarios } from '../faults/scenarios.ts';
import { touchesOf } from '../faults/transitions.ts';
import { changedPaths, choose, clusterFiles, commitCount, secondsOf, turns } from './choose.ts';

const item = (name: string, touchedBy: string[], seconds = 1) => ({ name, touchedBy, seconds });
const names = (items: readonly { name: string }[]) => items.map(({ name }) => name);

describe('what CI runs', () => {
  test("is everything that a change touches: a file, or a folder's content, but no folder with the same name prefix", () => {
    const items = [item('executor', ['libs/executor']), item('chart', ['k8s', 'docker/build/images.mjs'])];
    const touchedBy = (...paths: string[]) => names(choose(items, paths, 0).touched);
    expect(touchedBy('libs/executor/docker/life.ts')).toEqual(['executor']);
    expect(touchedBy('docker/build/images.mjs', 'libs/executor')).toEqual(['executor', 'chart']);
    expect(touchedBy('libs/executors/a.ts', 'docker/build/images.mjs.bak')).toEqual([]);
  });

  test('is everything where the changes are unknown', () => {
    expect(choose([item('a', ['x']), item('b', ['y'])], null, 5)).toMatchObject({ touched: [{ name: 'a' }, { name: 'b' }], left: [] });
  });

  test('is a third of the rest, and with three seeds in a row everything once', () => {
    const anyItems = fc.uniqueArray(
      fc.record({ name: fc.string(), touchedBy: fc.constant(['x']), seconds: fc.integer({ min: 1, max: 500 }) }),
      {
        selector: ({ name }) => name,
      },
    );
    fc.assert(
      fc.property(anyItems, fc.nat({ max: 1000 }), (items, cycle) => {
        const drawn = Array.from({ length: turns }, (_, turn) => choose(items, [], cycle * turns + turn));
        expect(names(drawn.flatMap((one) => one.drawn)).sort()).toEqual(names(items).sort());
        for (const one of drawn) expect(names([...one.drawn, ...one.left]).sort()).toEqual(names(items).sort());
        // No third takes longer than another by more than its longest file.
        const times = drawn.map((one) => secondsOf(one.drawn));
        expect(Math.max(...times) - Math.min(...times)).toBeLessThanOrEqual(Math.max(0, ...items.map(({ seconds }) => seconds)));
      }),
    );
  });

  test('depends only on the seed, and later seeds make other thirds', () => {
    const items = Array.from({ length: 9 }, (_, index) => item(`file ${index}`, ['x']));
    const drawnBy = (seed: number) => names(choose(items, [], seed).drawn).join();
    expect(drawnBy(4)).toBe(drawnBy(4));
    expect(new Set([0, 3, 6, 9, 12].map(drawnBy)).size).toBeGreaterThan(1);
  });
});

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

test('with a base, what changed since it counts, and an unknown base is refused', () => {
  expect(changedPaths(folder, 'HEAD~3').paths).toEqual(['new', 'old', 'recent', 'untracked']);
  expect(() => changedPaths(folder, 'no-such-commit')).toThrow('no-such-commit, which is not a commit of this clone');
});

test('in a clone that does not reach back far enough the changes are unknown', () => {
  const shallow = join(folder, 'shallow');
  git(['clone', '--quiet', '--depth', '1', pathToFileURL(folder).href, shallow]);
  expect(changedPaths(shallow, '')).toEqual({ base: null, paths: null });
});

const root = join(import.meta.dirname, '..', '..', '..', '..');

test('every test on a cluster, every scenario and every program says which paths touch it, and these exist', () => {
  const files = clusterFiles(root);
  expect(files.length).toBeGreaterThan(10);
  const places = [...files.flatMap(({ touchedBy }) => touchedBy), ...scenarios.flatMap(({ touchedBy }) => touchedBy)];
  expect([...places, ...Object.values(touchesOf).flat()].filter((place) => !existsSync(join(root, place)))).toEqual([]);
});
