import { lineageView, neighboursView, type RankedImageView, scoreDistribution } from '@cairn/contract';
import { newId } from '@cairn/runtime';
import { storeSearchResults } from '@cairn/testing/search-results';
import { expect, test } from 'vitest';
import { openTestApi } from '../testing/test-api.ts';

const { harness, prisma, store, call } = await openTestApi();

const gallery = Array.from({ length: 300 }, (_, at) => `img${String(at).padStart(3, '0')}`);
const others = gallery.slice(100, 198);
const truths = ['img000', 'img001', 'img250'];

/** A run whose search has found `first` for its only Private query, then 98 others. */
async function aSearchedRun(name: string, first: readonly string[]): Promise<string> {
  const runId = await harness.submit({ name, noReuse: true });
  await harness.playAll(runId);
  const queries = [
    { id: 'query-a', truths, found: [...first, ...others] },
    { id: 'query-b', truths: ['img002'], found: ['img002', ...others] },
  ];
  await storeSearchResults({ prisma, store }, runId, { gallery, queries });
  return runId;
}
const earlier = await aSearchedRun('earlier', ['img001', 'img000']);
const later = await aSearchedRun('later', ['img000', 'img005']);
const get = (path: string, query: Record<string, string>) => call('viewer', 'GET', `/v1/evaluation/${path}`, { query });

test('the results of a query are right, wrong or missed, with label, shard and their rank in another evaluation', async () => {
  const { json } = await get('neighbours', { of: 'later', query: 'query-a', against: 'earlier', limit: '3' });
  const view = neighboursView.parse(json);
  expect(view).toMatchObject({
    dataset: 'toy@1',
    evaluation: { name: 'later/evaluate' },
    against: { name: 'earlier/evaluate' },
  });
  const [first] = view.queries;
  expect(first?.query).toMatchObject({ queryId: 'query-a', hits: 1, difference: expect.closeTo(-1 / 3) });
  const short = ({ imageId, isRight, otherRank }: RankedImageView) => [imageId, isRight, otherRank];
  expect(first?.items.map(short)).toEqual([
    ['img000', true, 2],
    ['img005', false, null],
    ['img100', false, 3],
  ]);
  expect(first?.otherItems?.map(short)).toEqual([
    ['img001', true, null],
    ['img000', true, 1],
    ['img100', false, 3],
  ]);
  expect(first?.missed).toEqual([
    { imageId: 'img001', label: 0, shard: 0, otherRank: 1 },
    // The played extraction has shards of three images; the rest belongs to the last.
    { imageId: 'img250', label: 25, shard: 2, otherRank: null },
  ]);
  expect(first?.items[2]).toMatchObject({ rank: 3, label: 10, shard: 2, score: expect.any(Number) });

  const two = await call('viewer', 'GET', '/v1/evaluation/neighbours?of=later&limit=100&query=query-b&query=query-a');
  const alone = neighboursView.parse(two.json);
  expect(alone.queries.map(({ items }) => items.length)).toEqual([99, 100]);
  expect(alone.queries[0]).toMatchObject({ otherItems: null, missed: [], missedTotal: 0, query: { queryId: 'query-b', before: null } });
});

test('queries are counted by their average precision, and an evaluation says what it was made from', async () => {
  const counted = scoreDistribution.parse((await get('distribution', { of: 'later', against: 'earlier' })).json);
  expect(counted).toMatchObject({ queries: 2 });
  // 1 / 3 lies in the seventh step of 0.05, 2 / 3 in the fourteenth, 1 in the last.
  expect(counted.kaggle.flatMap((count, step) => (count > 0 ? [step] : []))).toEqual([6, 19]);
  expect(counted.against?.flatMap((count, step) => (count > 0 ? [step] : []))).toEqual([13, 19]);

  const evaluation = await harness.step(later, 'evaluate');
  const owned = { projectId: 'default', owner: 'ada', runId: later, stepId: evaluation.id, metrics: {} };
  await prisma.model.create({
    data: { id: newId('model'), ...owned, name: 'seen', version: 1, artifacts: { evaluation: evaluation.artifactId } },
  });
  const lineage = lineageView.parse((await get('lineage', { of: 'later' })).json);
  expect(lineage).toMatchObject({ dataset: 'toy@1', evaluation: { id: evaluation.artifactId } });
  expect(lineage.models).toContainEqual({ name: 'seen', version: 1 });
  expect(lineage.made.map(({ role, step, list }) => [role, step, list])).toEqual([
    [null, 'evaluate', null],
    ['lists', 'prepare', null],
    ['neighbours', 'search', null],
    ['index', 'extract_index', 'index'],
    ['query', 'extract_query', 'query'],
    ['model', 'export', null],
    ['checkpoint', 'second', null],
    ['start', 'first', null],
  ]);
  expect(lineage.made.every(({ run }) => run.id === later)).toBe(true);
});

test('what is not there is refused with what to do', async () => {
  expect((await get('neighbours', { of: 'later', query: 'query-z' })).json).toMatchObject({
    status: 404,
    detail: expect.stringContaining('query-z'),
  });
  expect((await get('neighbours', { of: 'later', query: '../etc' })).json).toMatchObject({ status: 400 });
  await prisma.artifact.updateMany({ where: { runId: earlier, kind: 'neighbours' }, data: { files: [] } });
  const { json } = await get('neighbours', { of: 'earlier', query: 'query-a' });
  expect(json).toMatchObject({ status: 404, detail: expect.stringContaining('neighbours.parquet') });
});
