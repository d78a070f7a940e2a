import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { idFor, type StubApi, startStubApi } from '@cairn/client/testing';
import type { NeighboursView, PictureSearchView, QueryScorePage, QueryScoreRow } from '@cairn/contract';
import { afterEach, beforeEach, expect, onTestFinished, test } from 'vitest';
import { runTestCli } from '../testing/test-cli.ts';

const score: QueryScoreRow = {
  queryId: 'query-a',
  usage: 'Private',
  continent: 'Asia',
  averagePrecision: 0.3333,
  averagePrecisionReference: null,
  groundTruths: 3,
  hits: 1,
  firstHit: 1,
  firstWrong: { rank: 2, imageId: 'img005' },
  hitsAt: { 1: 1, 5: 1, 10: 1, 20: 1, 100: 1, all: 3 },
  before: 0.6667,
  difference: -0.3334,
};

let api: StubApi;
beforeEach(async () => {
  api = await startStubApi();
  api.on('GET', '/v1/evaluation/queries', () => ({ items: [score], nextCursor: null, total: 1 }) satisfies QueryScorePage);
});
afterEach(() => api.close());
const cairn = (...args: string[]) => runTestCli(args, { url: api.url });

test('queries are listed with what changed, and one of them with what was found for it', async () => {
  const listed = await cairn('queries', 'toy@2', '--against', 'toy@1', '--sort', 'lost');
  expect(listed.code).toBe(0);
  expect(listed.out).toMatch(/query-a +33\.33 % +- +1 of 3 +img005 at 2 +-33\.34\n1 of 1 query/);
  expect(Object.fromEntries(api.requests[0]?.query ?? [])).toMatchObject({ of: 'toy@2', against: 'toy@1', sort: 'lost' });

  const image = { label: 40, shard: 2, otherRank: 7 };
  const results = {
    ...{ query: score, missedTotal: 1, otherItems: null },
    items: [{ ...image, rank: 1, imageId: 'img000', score: 0.91, isRight: true }],
    missed: [{ ...image, imageId: 'img250' }],
  };
  const view: NeighboursView = {
    evaluation: { id: idFor('art', 1), name: 'toy@2' },
    dataset: 'gldv2@1',
    against: null,
    queries: [results],
  };
  api.on('GET', '/v1/evaluation/neighbours', () => view);
  const shown = await cairn('queries', 'toy@2', '--query', 'query-a');
  expect(shown.out).toContain('query-a of gldv2@1: AP 33.33 %, 1 of 3 found');
  expect(shown.out).toMatch(/1 +img000 +right +0\.9100 +40 +2 +7\n/);
  expect(shown.out).toContain('Missed: img250');
});

test('a picture is sent as it is, and one that is not there or too large is not sent', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'cairn-similar-'));
  onTestFinished(() => rm(folder, { recursive: true }));
  const items = [{ rank: 1, imageId: 'blue2', score: 0.998, label: null }];
  const view: PictureSearchView = { model: 'toy@1', dataset: 'toy@1', galleryRows: 4, items, seconds: 0.4 };
  api.on('POST', '/v1/search', () => view);
  await writeFile(join(folder, 'sea.jpg'), 'the bytes');
  const found = await cairn('similar', join(folder, 'sea.jpg'), '--model', 'toy');
  expect(found.out).toMatch(/1 +blue2 +0\.9980 +-\nThe nearest of 4 images by toy@1, in 0\.4 s/);
  expect(api.requests.at(-1)?.body).toBe('the bytes');
  const sent = api.requests.length;
  await writeFile(join(folder, 'large.jpg'), Buffer.alloc(20_000_001));
  expect((await cairn('similar', join(folder, 'large.jpg'), '--model', 'toy')).err).toContain('a picture may have 20000000');
  expect((await cairn('similar', join(folder, 'none.jpg'), '--model', 'toy')).err).toContain('is not a file');
  expect(api.requests.length).toBe(sent);
});
