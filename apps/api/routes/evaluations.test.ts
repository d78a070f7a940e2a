import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { comparisonView, defaultRerank, evaluationView, queryScorePage, type RerankSettings } from '@cairn/contract';
import { ada } from '@cairn/engine/testing';
import { type NamedScores, openParquet, writeScores } from '@cairn/retrieval/scores';
import { newId, sha256File } from '@cairn/runtime';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openTestApi } from '../testing/test-api.ts';

const { harness, prisma, store, call } = await openTestApi();
const folder = await mkdtemp(join(tmpdir(), 'cairn-evaluations-'));
const parquet = await openParquet();
afterAll(async () => {
  await parquet.close();
  await rm(folder, { recursive: true });
});

type Query = NamedScores['queries'][number];
const count = 450;
const gallery = { digest: 'a'.repeat(64), rows: 1000 };
/** q000 to q449, the first 50 of which are Public; the average precision of each by its number. */
const queriesOf = (averagePrecision: (at: number) => number): Query[] =>
  Array.from({ length: count }, (_, at) => ({
    queryId: `q${String(at).padStart(3, '0')}`,
    usage: at < 50 ? 'Public' : 'Private',
    // Of each three one in Europe, one in South America, and one that nobody knows of.
    continent: ([null, 'Europe', 'South America'] as const)[at % 3] ?? null,
    hitsAt: at === 0 ? null : { 1: at % 2, 5: 1, 10: 1, 20: 1, 100: 1, all: 2 },
    averagePrecision: averagePrecision(at),
    averagePrecisionReference: at === 0 ? null : averagePrecision(at),
    ...{ groundTruths: 2, hits: 1, firstHit: at === 0 ? null : 1, firstWrong: at === 0 ? null : { rank: 2, imageId: `i${at}` } },
  }));

/** An evaluation in the store; without scores by query as an earlier release made it. */
async function addEvaluation(
  runId: string,
  scores: Partial<NamedScores> & { queries: readonly Query[] },
  release: 'this' | 'earlier' = 'this',
) {
  const given = { gallery, groundTruthDigest: 'of all', ...scores };
  const id = newId('artifact');
  const out = join(folder, id);
  await writeScores(parquet, { out, metrics: {}, scores: given });
  const file = join(out, 'per_query.parquet');
  const bytes = await readFile(file);
  await store.put(`evaluations/${id}/per_query.parquet`, bytes);
  const mapAt100 = { kaggle: { public: 0.2, private: 0.4, all: 0.3 }, reference: 0.3 };
  const interval = { low: 0.2, high: 0.4 };
  const intervals = { kaggle: { public: interval, private: interval, all: interval }, reference: interval };
  const bootstrap = { method: 'percentile bootstrap over queries', level: 0.95, samples: 10_000, seed: 0 };
  const recorded = { galleryDigest: given.gallery?.digest, galleryRows: given.gallery?.rows };
  const details =
    release === 'earlier'
      ? { mapAt100, ...recorded }
      : { mapAt100: { ...mapAt100, intervals }, bootstrap, ...recorded, groundTruthDigest: given.groundTruthDigest };
  const files = release === 'earlier' ? [] : [{ name: 'per_query.parquet', bytes: bytes.length, sha256: await sha256File(file) }];
  const made = { runId, stepName: 'evaluate', details, files };
  await prisma.artifact.create({
    data: { id, projectId: 'default', kind: 'evaluation', state: 'ready', prefix: `evaluations/${id}/`, ...made },
  });
  return id;
}

/** A run whose step `evaluate` has the evaluation. */
async function addRun(name: string, scores: Parameters<typeof addEvaluation>[1], release: 'this' | 'earlier' = 'this') {
  const runId = await harness.submit({ name });
  const id = await addEvaluation(runId, scores, release);
  const { id: stepId } = await harness.step(runId, 'evaluate');
  await prisma.step.update({ where: { id: stepId }, data: { state: 'succeeded', artifactId: id } });
  return { runId, stepId, id };
}

const before = queriesOf((at) => at / count);
/** q000 gains the most, q449 loses the most, and the Private ones with an odd number gain a little. */
const after = queriesOf((at) => at / count + ({ 0: 0.5, 449: -0.4 }[at] ?? (at % 2 === 1 && at > 50 ? 0.01 : 0)));
let plain: Awaited<ReturnType<typeof addRun>>;
let raised: Awaited<ReturnType<typeof addRun>>;
beforeAll(async () => {
  plain = await addRun('plain', { queries: before });
  raised = await addRun('raised', { queries: after });
});

const get = (path: string, query: Record<string, string>) => call('viewer', 'GET', path, { query });

test('an evaluation is found by whatever names it, and shows its score with the interval', async () => {
  const owned = { projectId: 'default', owner: 'ada', runId: raised.runId, stepId: raised.stepId, metrics: {} };
  await prisma.model.create({
    data: { id: newId('model'), ...owned, name: 'landmarks', version: 3, artifacts: { evaluation: raised.id } },
  });
  const references = [raised.id, raised.stepId, raised.runId, 'raised', 'raised/evaluate', 'landmarks@3'];
  const found = [];
  for (const of of references) found.push(evaluationView.parse((await get('/v1/evaluation', { of })).json));
  expect(found.map(({ id }) => id)).toEqual(references.map(() => raised.id));
  expect(found.map(({ name }) => name)).toEqual([...Array(5).fill('raised/evaluate'), 'landmarks@3']);
  expect(found[0]).toMatchObject({
    scores: { mapAt100: 0.3, 'mapAt100.low': 0.2, 'mapAt100.high': 0.4, 'mapAt100.public': 0.2 },
    bootstrap: { level: 0.95, samples: 10_000 },
    ...{ gallery, hasQueries: true },
  });
});

test('a reference that does not name an evaluation is refused with what to name instead', async () => {
  const runId = await harness.submit({ name: 'several' });
  const search = await harness.step(runId, 'search');
  await prisma.step.updateMany({ where: { runId, name: 'evaluate' }, data: { name: 'A-evaluate', state: 'active' } });
  await prisma.step.updateMany({ where: { runId, name: 'prepare' }, data: { name: 'B-evaluate', kind: 'evaluate' } });
  const refusals: [string, number, string][] = [
    ['several', 400, 'The run several has several evaluations'],
    ['several/C', 404, 'The run several has no step C that evaluates'],
    ['several/A-evaluate', 409, 'The step A-evaluate of the run several is active: it has no evaluation'],
    [search.id, 409, 'The step search of the run several is of the kind search: it has no evaluation'],
    ['nowhere', 404, 'No run nowhere'],
    ['landmarks@4', 404, 'No model landmarks@4'],
    ['landmarks@new', 404, 'Model landmarks has no alias new'],
    [newId('artifact'), 404, 'No evaluation art_'],
    ['a/b/c', 400, 'of'],
  ];
  for (const [of, status, detail] of refusals) {
    const { json } = await get('/v1/evaluation', { of });
    expect({ of, status: json.status }).toEqual({ of, status });
    expect(json.detail).toContain(detail);
  }
  expect((await get('/v1/evaluation', { of: 'several' })).json.details.remedy).toBe('Use one of several/B-evaluate, several/A-evaluate.');
});

test('queries come in pages, the worst first, or in the order of their change against another evaluation', async () => {
  const ids: string[] = [];
  const cursors: (string | null)[] = [];
  let cursor: string | null = null;
  do {
    const page = queryScorePage.parse((await get('/v1/evaluation/queries', { of: 'plain', limit: '200', ...(cursor && { cursor }) })).json);
    ids.push(...page.items.map(({ queryId }) => queryId));
    expect(page.total).toBe(count);
    cursor = page.nextCursor;
    cursors.push(cursor);
  } while (cursor !== null);
  expect(ids).toEqual(before.map(({ queryId }) => queryId));
  expect(cursors).toHaveLength(3);

  const list = async (query: Record<string, string>) =>
    queryScorePage.parse((await get('/v1/evaluation/queries', { of: 'raised', limit: '2', ...query })).json).items;
  const against = plain.id;
  expect(await list({ sort: 'gained', against })).toMatchObject([
    { queryId: 'q000', averagePrecision: 0.5, before: 0, difference: 0.5, averagePrecisionReference: null, firstWrong: null },
    { difference: expect.closeTo(0.01) },
  ]);
  expect(await list({ sort: 'lost', against })).toMatchObject([{ queryId: 'q449', difference: expect.closeTo(-0.4) }, { queryId: 'q001' }]);
  expect(await list({ sort: 'changed', against })).toMatchObject([{ queryId: 'q000' }, { queryId: 'q449' }]);
  expect(await list({ sort: 'best', usage: 'Public' })).toMatchObject([
    { queryId: 'q000', before: null },
    { queryId: 'q049', usage: 'Public', firstWrong: { rank: 2, imageId: 'i49' } },
  ]);
  expect((await get('/v1/evaluation/queries', { of: 'raised', sort: 'lost' })).json).toMatchObject({
    status: 400,
    detail: 'The order lost needs an evaluation to compare with',
  });
  expect((await get('/v1/evaluation/queries', { of: 'raised', cursor: 'x' })).json.detail).toContain('Invalid cursor');
});

test('two evaluations are compared with an interval, a p-value and the queries that changed most', async () => {
  const query = { a: 'plain', b: raised.stepId, samples: '2000', show: '1' };
  const { a, b, comparison } = comparisonView.parse((await get('/v1/comparison', query)).json);
  expect([a.name, b.name]).toEqual(['plain/evaluate', 'raised/evaluate']);
  expect(comparison).toMatchObject({
    ...{ better: 200, worse: 1, equal: 249, isGalleryKnown: true, bootstrap: { samples: 2000, seed: 0 } },
    gained: [{ queryId: 'q000' }],
    lost: [{ queryId: 'q449' }],
    all: { queries: count, difference: expect.closeTo((0.5 - 0.4 + 199 * 0.01) / count, 10) },
    public: { queries: 50, difference: expect.closeTo(0.01, 10) },
  });
  const all = comparison.all ?? { low: 0, high: 0, difference: 0, p: 0 };
  expect(all.low).toBeLessThan(all.difference);
  expect(all.high).toBeGreaterThan(all.difference);
  expect(all.p).toBeLessThan(0.05);
});

test('what would take the service too long is refused with the limit', async () => {
  const file = { name: 'per_query.parquet', bytes: 3_000_000, sha256: 'c'.repeat(64) };
  const large = await addRun('large', { queries: before });
  await prisma.artifact.update({ where: { id: large.id }, data: { files: [file] } });
  const { json } = await get('/v1/evaluation/queries', { of: 'large' });
  expect(json).toMatchObject({
    status: 400,
    detail: 'The scores by query of large/evaluate have 3000000 bytes; the service reads at most 2097152',
  });
  // 50 million draws.
  const many = await addRun('many', {
    queries: Array.from({ length: 2 }, (_, copy) => before.map((one) => ({ ...one, queryId: `${one.queryId}-${copy}` }))).flat(),
  });
  const compared = await get('/v1/comparison', { a: many.id, b: many.id, samples: '100000' });
  expect(compared.json).toMatchObject({
    status: 400,
    detail: '100000 samples of 900 queries are too many for the service',
    details: { remedy: 'Use at most 55555.' },
  });
  expect((await get('/v1/comparison', { a: many.id, b: many.id, samples: '100001' })).status).toBe(400);
});

test('evaluations of other galleries or queries are not compared, and those without scores by query say why', async () => {
  await addRun('other-gallery', { queries: before, gallery: { digest: 'b'.repeat(64), rows: 900 } });
  await addRun('other-queries', { queries: before.slice(1), groundTruthDigest: 'of fewer' });
  await addRun('old', { queries: before }, 'earlier');
  const refusal = async (b: string) => (await get('/v1/comparison', { a: 'plain', b })).json;
  expect(await refusal('other-gallery')).toMatchObject({
    ...{ status: 422, code: 'not_comparable' },
    detail: expect.stringMatching(
      /^plain\/evaluate and other-gallery\/evaluate .* different galleries, a{16} \(1000 images\) and b{16} \(900 images\)$/,
    ),
    details: { remedy: expect.stringContaining('Search the same index with both') },
  });
  expect((await refusal('other-queries')).detail).toBe(
    'plain/evaluate and other-queries/evaluate cannot be compared: only plain/evaluate has the query q000',
  );
  expect((await get('/v1/evaluation/queries', { of: 'plain', against: 'other-gallery' })).json.code).toBe('not_comparable');
  expect(await refusal('old')).toMatchObject({
    ...{ status: 404, detail: 'The evaluation old/evaluate has no scores by query: an earlier release made it' },
    details: { remedy: 'Submit its recipe again: only the step `evaluate` runs, and its result has them.' },
  });
  expect((await get('/v1/evaluation', { of: 'old' })).json).toMatchObject({
    hasQueries: false,
    bootstrap: null,
    scores: { mapAt100: 0.3 },
  });
});

test('a gate passes, fails or cannot decide by the interval of the difference to an alias, whose version it pins', async () => {
  // Half of the queries gain what the others lose, and a little more.
  const mixed = queriesOf((at) => at / count + (at % 2 === 1 ? 0.051 : -0.05));
  const models = await Promise.all(
    [before, mixed, queriesOf((at) => at / count - 0.05)].map(async (queries, at) => {
      const { runId, stepId, id } = await addRun(`gated-${at}`, { queries });
      const owned = { projectId: 'default', owner: 'ada', runId, stepId, metrics: {}, artifacts: { evaluation: id } };
      await prisma.model.create({ data: { id: newId('model'), ...owned, name: 'gated', version: at + 1 } });
      await prisma.run.update({ where: { id: runId }, data: { state: 'succeeded' } });
      return { runId, id };
    }),
  );
  const [first, second, worse] = models.map(({ runId }) => runId);
  const judge = (runId = '', gate = '', options: object = {}) =>
    call('submitter', 'POST', `/v1/runs/${runId}/gate`, { body: { gate, ...options } });
  await harness.engine.setAlias({ model: 'gated', alias: 'production' }, { version: 1, reason: 'the first' }, ada);

  const failed = await judge(worse, 'mAP@100 >= production - 0.2 points');
  expect(failed).toMatchObject({
    status: 200,
    json: {
      verdict: 'failed',
      reason: expect.stringMatching(/^mAP@100 is 44\.89 %, -5\.00 points from the 49\.89 % of gated@1 \(production\).*450 queries/),
      baseline: { model: 'gated', version: 1, evaluationId: models[0]?.id },
    },
  });
  expect(failed.json.lost).toHaveLength(10);
  // The difference is within chance; a tolerance or the mean alone decide.
  expect((await judge(second, 'mAP@100 >= production')).json).toMatchObject({ verdict: 'inconclusive', queries: 450 });
  expect((await judge(second, 'mAP@100.private >= production', { by: 'mean' })).json).toMatchObject({ verdict: 'passed', queries: 400 });
  expect((await judge(second, 'mAP@100 >= gated@1 - 1 %')).json).toMatchObject({ verdict: 'passed', limit: expect.closeTo(-0.00499, 5) });
  expect((await judge(second, 'mAP@100 >= production', { by: 'mean', minQueries: 451 })).json).toMatchObject({ verdict: 'inconclusive' });
  expect((await judge(first, 'mAP@100 >= 40 %')).json).toMatchObject({ verdict: 'passed', baseline: null });
  expect((await judge(first, 'mAP@100 >= 0.6')).json).toMatchObject({ verdict: 'failed' });

  expect((await call('viewer', 'GET', `/v1/runs/${second}`)).json).toMatchObject({ verdict: 'inconclusive' });
  const stored = (await call('viewer', 'GET', `/v1/runs/${second}/judgements`)).json.items;
  expect(stored.map((one: { verdict: string }) => one.verdict)).toEqual(['inconclusive', 'passed', 'passed', 'inconclusive']);
  expect(stored[0]).toMatchObject({ judgedBy: 'a-submitter', by: 'mean' });
  const events = await prisma.event.findMany({ where: { runId: second ?? '', type: 'gate' } });
  expect(events).toHaveLength(4);

  // Trying one stores nothing, and the alias decides when it is judged.
  await harness.engine.setAlias({ model: 'gated', alias: 'production' }, { version: 3, reason: 'lower' }, ada);
  expect((await get('/v1/gate', { of: 'gated@1', gate: 'mAP@100 >= gated@production' })).json).toMatchObject({ verdict: 'passed' });
  expect(await prisma.judgement.count({ where: { runId: first ?? '' } })).toBe(2);
});

test('a gate judges any score, over the queries of one usage or one continent', async () => {
  // Worse in Europe alone, which the mean over all queries hides; half of the first images are wrong now.
  const moved = queriesOf((at) => at / count + (at % 3 === 1 ? -0.05 : 0.04)).map((query): Query => {
    const { hitsAt } = query;
    return { ...query, hitsAt: hitsAt && { ...hitsAt, 1: 0, 100: 2 } };
  });
  const [base] = await Promise.all(
    [before, moved].map(async (queries, at) => {
      const { runId, stepId, id } = await addRun(`placed-${at}`, { queries });
      const owned = { projectId: 'default', owner: 'ada', runId, stepId, metrics: {}, artifacts: { evaluation: id } };
      await prisma.model.create({ data: { id: newId('model'), ...owned, name: 'placed', version: at + 1 } });
      return { runId, id };
    }),
  );
  const ask = async (gate: string) => (await get('/v1/gate', { of: 'placed@2', gate })).json;
  expect(await ask('mAP@100 >= placed@1')).toMatchObject({ verdict: 'passed', queries: 450 });
  const europe = await ask('mAP@100.europe >= placed@1 - 0.2 points');
  expect(europe).toMatchObject({
    verdict: 'failed',
    queries: 150,
    difference: expect.closeTo(-0.05, 9),
    baseline: { evaluationId: base?.id },
  });
  expect(europe.reason).toMatch(/^mAP@100\.europe is 44\.89 %, -5\.00 points from the 49\.89 % of placed@1/);
  // The queries that lost most are those of the gate.
  expect(europe.lost.every(({ queryId }: { queryId: string }) => Number(queryId.slice(1)) % 3 === 1)).toBe(true);
  expect(await ask('mAP@100.south-america >= placed@1')).toMatchObject({ verdict: 'passed', queries: 150 });
  expect(await ask('mAP@100.reference.europe >= 60 %')).toMatchObject({
    verdict: 'failed',
    queries: 150,
    value: expect.closeTo(0.44889, 4),
  });
  // q000 is its own only ground truth, so eval_cbir leaves it out.
  expect(await ask('CMC@1 >= placed@1')).toMatchObject({ verdict: 'failed', queries: 449, value: 0, baselineValue: 225 / 449 });
  expect(await ask('precision@5.private >= 20 %')).toMatchObject({ verdict: 'passed', queries: 400, value: expect.closeTo(0.2, 9) });
  expect(await ask('recall@100 >= placed@1')).toMatchObject({ verdict: 'passed', value: 1, baselineValue: 0.5 });

  const refused = async (gate: string, of = 'placed@2') => (await get('/v1/gate', { of, gate })).json;
  expect(await refused('mAP@100.atlantis >= placed@1')).toMatchObject({
    detail: expect.stringContaining('atlantis is neither a usage nor'),
  });
  expect(await refused('recall@7 >= placed@1')).toMatchObject({ detail: expect.stringContaining('there is no metric recall@7') });
  expect(await refused('mAP@100.asia >= placed@1')).toMatchObject({
    detail: 'placed@2 has no queries for mAP@100.asia',
    details: { remedy: 'It has queries for these parts: public, private, europe, south-america.' },
  });
  const unplaced = before.map((query) => ({ ...query, continent: null, hitsAt: null }));
  await addRun('unplaced', { queries: unplaced });
  expect(await refused('mAP@100.asia >= 5 %', 'unplaced')).toMatchObject({ detail: 'The queries of unplaced/evaluate have no continents' });
  expect(await refused('CMC@1 >= placed@1', 'unplaced')).toMatchObject({
    detail: 'The queries of unplaced/evaluate have no CMC@1: an earlier release evaluated it',
  });
});

test('a gate compares only what was searched in the same way, and says what was different', async () => {
  const artifact = async (kind: string, step: string, runId: string, details: object) => {
    const id = newId('artifact');
    const made = { runId, stepName: step, prefix: `${kind}/${id}/`, files: [], details };
    await prisma.artifact.create({ data: { id, projectId: 'default', kind, state: 'ready', ...made } });
    const { id: stepId } = await harness.step(runId, step);
    await prisma.step.update({ where: { id: stepId }, data: { state: 'succeeded', artifactId: id } });
  };
  let version = 0;
  type Search = { rerank?: Partial<RerankSettings>; preprocessing?: string; references?: string; members?: string[] };
  const searched = async (name: string, { rerank, preprocessing = 'cairn', references, members }: Search) => {
    const { runId, stepId, id } = await addRun(name, { queries: before });
    const settings = rerank === undefined ? {} : { rerank: { ...defaultRerank, ...rerank } };
    await artifact('neighbours', 'search', runId, { queries: count, index: 'art', topK: 100, ...settings });
    for (const list of ['index', 'query'])
      await artifact('features', `extract_${list}`, runId, { list, rows: 9, rejected: 0, shards: 1, model: 'a', preprocessing });
    if (references !== undefined) {
      // The list of queries stands in for references, of which each version of the list has another digest.
      const { id: searchId, needs } = await harness.step(runId, 'search');
      const roles = [
        { role: 'references.M', step: 'extract_query' },
        { role: 'lists', step: 'prepare' },
      ];
      await prisma.step.update({ where: { id: searchId }, data: { needs: [...(needs as object[]), ...roles] } });
      const sha256 = references.repeat(64);
      await artifact('lists', 'prepare', runId, { lists: { query: { rows: 9, distinct: 9, classes: 2, sha256 } } });
    }
    version += 1;
    const models = members === undefined ? { model: id } : Object.fromEntries(members.map((member) => [`model.${member}`, id]));
    const owned = { projectId: 'default', owner: 'ada', runId, stepId, metrics: {}, artifacts: { evaluation: id, ...models } };
    await prisma.model.create({ data: { id: newId('model'), ...owned, name: 'searched', version } });
  };
  await searched('plain-search', {});
  await searched('constants', { rerank: { alpha: 0.5 } });
  await searched('mutual', { rerank: { mode: 'k_reciprocal', k1: 20 } });
  await searched('resized', { preprocessing: 'reference' });
  await searched('voted', { rerank: { mode: 'before_merge' }, references: 'a' });
  await searched('voted-again', { rerank: { mode: 'before_merge' }, references: 'a' });
  await searched('voted-by-others', { rerank: { mode: 'before_merge' }, references: 'b' });
  await searched('ensemble', { members: ['A', 'B'] });
  const ask = async (of: string, baseline = 1) => (await get('/v1/gate', { of, gate: `mAP@100 >= searched@${baseline}`, by: 'mean' })).json;
  // A constant that the mode does not use changes nothing.
  expect(await ask('constants')).toMatchObject({ verdict: 'passed' });
  expect(await ask('mutual')).toMatchObject({
    code: 'not_comparable',
    detail: 'searched@1 and mutual/evaluate cannot be compared: they were searched in different ways: rerank.mode was off and k_reciprocal',
    details: { baseline: { model: 'searched', version: 1 }, remedy: expect.stringContaining('--evaluate-baseline does it') },
  });
  // Nothing evaluates an ensemble on other data, so it is not offered.
  const withEnsemble = await ask('mutual', 8);
  expect(withEnsemble).toMatchObject({ code: 'not_comparable', details: { remedy: expect.stringContaining('`cairn models searched`') } });
  expect(withEnsemble.details).not.toHaveProperty('baseline');
  expect(await ask('voted-again', 5)).toMatchObject({ verdict: 'passed' });
  expect((await ask('voted-by-others', 5)).detail).toMatch(/: references was query a{16} and query b{16}$/);
  const resized = await ask('resized');
  expect(resized).toMatchObject({ code: 'not_comparable', detail: expect.stringMatching(/: preprocessing was cairn and reference$/) });
  // Evaluating the baseline again would not change how its model is given images.
  expect(resized.details).not.toHaveProperty('baseline');
  expect(resized.details.remedy).toContain('export.preprocessing');
});

test('a gate that cannot be judged says why and what to write', async () => {
  const of = 'raised';
  const refusals: [string, number, string | RegExp][] = [
    ['mAP >= production', 400, 'there is no metric mAP'],
    ['mAP@100 > production', 400, /cannot be read: it is not METRIC >= BASELINE/],
    ['mAP@100 >= 55', 400, '55 is more than 100 %; write 55 % or 0.55'],
    ['mAP@100 >= gated@stable', 404, 'Model gated has no alias stable'],
    ['mAP@100 >= gated@9', 404, 'No model gated@9'],
    ['mAP@100 >= production', 404, 'Model landmarks has no alias production'],
  ];
  for (const [gate, status, detail] of refusals)
    expect(await get('/v1/gate', { of, gate })).toMatchObject({ status, json: { detail: expect.stringMatching(detail) } });
  const running = await addRun('running', { queries: before });
  const judged = await call('submitter', 'POST', `/v1/runs/${running.runId}/gate`, { body: { gate: 'mAP@100 >= 1 %' } });
  expect(judged).toMatchObject({ status: 409, json: { detail: expect.stringContaining('a gate judges a run that succeeded') } });
});
