import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { type VotingConstants, votingConstantsOf } from '@cairn/contract';
import { sha256 } from '@cairn/runtime';
import { expect, onTestFinished, test } from 'vitest';
import { idsOf, orderIds } from '../features/id-table.ts';
import { imageIds, writeParts } from '../fixtures/feature-set.ts';
import { temporaryFolder, testParquet } from '../fixtures/test-files.ts';
import { createScorer } from '../search/create-scorer.ts';
import { createProducts } from './create-products.ts';
import { openVoting } from './open-voting.ts';
import { clustered, smallDim, vectorsOf } from './testing/small-search.ts';
import { voteOnQueries } from './vote-on-queries.ts';
import { readVotes } from './votes-file.ts';

const constants: VotingConstants = { votes: 3, voteNeighbours: 8, voteLambda: 0.5, k1: 4, k2: 3 };
const origin = { query: 'a', references: 'b', list: 'c', constants };
const queryIds = imageIds(20, 'q');
const queries = clustered(20, 12, 1);
/** The last twenty are copies of the first, so that there are ties. */
const drawn = clustered(60, 12, 2);
const references = [...drawn, ...drawn.slice(0, 20)];
const stored = imageIds(80, 'r');
/** The list has another order than the features, and no landmark for r25. */
const listed = stored.toReversed().map((id, row) => [id, id === 'r25' ? -1 : row % 3, null]);
const referenceIds = listed.flatMap(([id, label]) => (label === -1 ? [] : [String(id)]));

const orderOf = (ids: readonly string[]) => {
  const { table, numbers } = idsOf(ids);
  return orderIds(table, numbers);
};

async function openAll(given: VotingConstants = constants) {
  const parquet = await testParquet();
  const folder = await temporaryFolder();
  const [queriesDir, referencesDir, labels] = [join(folder, 'query'), join(folder, 'references'), join(folder, 'labels.parquet')];
  const rows = (vectors: readonly number[][]) => new Float16Array(vectors.flat());
  await writeParts(parquet, queriesDir, smallDim, [
    { part: 0, ids: queryIds.slice(0, 7), features: rows(queries.slice(0, 7)) },
    { part: 1, ids: queryIds.slice(7), features: rows(queries.slice(7)) },
  ]);
  await writeParts(parquet, referencesDir, smallDim, [{ part: 0, ids: stored, features: rows(references) }]);
  await parquet.write({ path: labels, columns: { image_id: 'text', label: 'integer', country: 'text' }, rows: listed });
  const sets = { queries: queriesDir, references: referencesDir, labels };
  const device = 'cpu' as const;
  const voting = await openVoting({ parquet, ...sets, origin: { ...origin, constants: given }, device, threads: 1, blockRows: 7 });
  return { parquet, dir: join(folder, 'made'), voting };
}

/** The votes as one search finds them, with the references in the order of the list. */
async function votesOfAll() {
  const [products, scorer] = [await createProducts({ device: 'cpu', threads: 1 }), await createScorer({ device: 'cpu', threads: 1 })];
  onTestFinished(async () => {
    await products.close();
    await scorer.close();
  });
  const inOrder = referenceIds.map((id) => references[stored.indexOf(id)] ?? []);
  const vectors = vectorsOf({ name: 'M', weight: 1, queries, index: queries, references: inOrder });
  if (vectors.references === null) throw new Error('no references were given');
  const means = { products, scorer, blockRows: 1000, threads: 1 };
  const values = new Float32Array(queries.flat());
  return voteOnQueries({ queries: values, references: vectors.references, settings: constants, means, what: 'M' });
}

test('shards of any size together have the votes of each query that one search finds, to the bit', async () => {
  const { parquet, dir, voting } = await openAll();
  const shards = [];
  const progress: number[] = [];
  for (const [part, [from = 0, count = 0]] of [
    [0, 9],
    [9, 1],
    [10, 10],
  ].entries())
    shards.push(await voting.computeShard({ part, from, count, outDir: dir, onProgress: ({ done }) => progress.push(from + done) }));
  expect(progress.at(-1)).toBe(20);
  expect(progress).toEqual(progress.toSorted((a, b) => a - b));
  const lines = queryIds.slice(0, 9).map((id) => `${id}\n`);
  expect(shards[0]?.idsSha256).toBe(sha256(lines.join('')));
  const ids = { queryIds: orderOf(queryIds), referenceIds: orderOf(referenceIds) };
  expect(await readVotes({ parquet, dir, origin, ...ids })).toEqual(await votesOfAll());

  const others = { ...origin, constants: { ...constants, k1: 5 } };
  await expect(readVotes({ parquet, dir, origin: others, ...ids })).rejects.toMatchObject({
    code: 'model_mismatch',
    message: expect.stringMatching(/has the votes of other constants: of .*"k1":4.*, not of .*"k1":5/),
  });
  await expect(readVotes({ parquet, dir, origin: { ...origin, query: 'd' }, ...ids })).rejects.toThrow('of other features of the queries');
  await expect(readVotes({ parquet, dir, origin, ...ids, referenceIds: orderOf(['r0']) })).rejects.toThrow('which is not a reference');
  await rm(shards[1]?.file.path ?? '');
  await expect(readVotes({ parquet, dir, origin, ...ids })).rejects.toThrow('lack the vote 1 of 3 of the query q9');
});

test('constants that a search does not read are not compared, and too few references are refused', async () => {
  expect(votingConstantsOf({ ...constants, ...{ alpha: 2 } })).toEqual(constants);
  await expect(openAll({ ...constants, voteNeighbours: 80 })).rejects.toMatchObject({
    code: 'invalid_setting',
    message: 'The references are 79, and the votes are looked for among the 80 nearest.',
  });
});
