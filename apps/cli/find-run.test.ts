import { createClient } from '@cairn/client';
import { aRun, idFor, type StubApi, startStubApi } from '@cairn/client/testing';
import { runListItem } from '@cairn/contract';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { findRun } from './find-run.ts';

const summary = runListItem.parse(aRun());
const runs = [
  { ...summary, name: 'mini-1', id: 'run_01kaaaaaaaaaaaaaaaaaaaaaaa' },
  { ...summary, name: 'mini-2', id: 'run_01kabbbbbbbbbbbbbbbbbbbbbb' },
  { ...summary, name: 'nightly', id: 'run_01kcccccccccccccccccccccccc'.slice(0, 30) },
];
let api: StubApi;
beforeEach(async () => {
  api = await startStubApi();
  api.on('GET', '/v1/runs', ({ query }) => ({
    items: runs.filter(({ name }) => [null, name].includes(query.get('name'))),
    nextCursor: null,
    total: runs.length,
  }));
  api.on('GET', '/v1/runs/(run_[^/]+)', (_, __, match) => aRun({ id: match[1] ?? '' }));
});
afterEach(() => api.close());

const find = (text: string) => findRun(createClient({ url: api.url }), text, new AbortController().signal);

test('a whole id is requested directly, a name by its name', async () => {
  expect((await find(idFor('run', 5))).id).toBe(idFor('run', 5));
  expect((await find('mini-2')).id).toBe(runs[1]?.id);
  expect(api.requests.map(({ path }) => path)).toEqual([`/v1/runs/${idFor('run', 5)}`, '/v1/runs']);
});

test('the beginning of an id is enough when it matches only one run', async () => {
  expect((await find('run_01kc')).name).toBe('nightly');
  expect((await find('01kab')).name).toBe('mini-2');
});

test('an ambiguous beginning lists the matching runs', async () => {
  await expect(find('01ka')).rejects.toMatchObject({
    code: 'invalid_request',
    message: expect.stringContaining('mini-1 (run_01kaaaaaaaaaaaaaaaaaaaaaaa), mini-2'),
  });
});

test('an unknown name gets the nearest one as a suggestion', async () => {
  await expect(find('nightli')).rejects.toMatchObject({ code: 'not_found', details: { nearest: 'nightly' } });
  await expect(find('../tokens')).rejects.toMatchObject({ code: 'invalid_path' });
});
