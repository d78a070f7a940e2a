import { idFor, type StubApi, startStubApi } from '@cairn/client/testing';
import { byPerson, type Lineage, type RunComparison } from '@cairn/contract';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { runTestCli } from '../testing/test-cli.ts';

const at = '2026-01-14T09:26:53.000Z';
const digest = 'a'.repeat(64);
const [base, wider] = [idFor('run', 1), idFor('run', 2)];
const run = (id: string, name: string): RunComparison['runs'][number] => ({
  ...{ id, name, recipe: 'mini', dataset: 'mini@1', owner: 'ada', state: 'succeeded', cause: null, verdict: 'none', priority: 0, seq: 9 },
  ...{ steps: { total: 1, done: 1, reused: 0 }, createdAt: at, startedAt: at, finishedAt: at, updatedAt: at, share: 1, now: null },
  ...{ origin: byPerson, source: null, labels: {}, group: null, onNewer: 'queue', cancelCause: null, hold: null },
  ...{ mapAt100: { best: 0.5, last: 0.5 }, gpuSeconds: 3600, tags: [], noteLine: null, actions: [] },
});
const commit = 'c'.repeat(40);
const source = { provider: 'github', repository: 'team/landmarks', commit, ref: 'main', pullRequest: null, url: null } as const;
const step = { state: 'succeeded', gpuSeconds: 3600, reusedFrom: null, artifactId: null, startedAt: at, finishedAt: at } as const;

let api: StubApi;
beforeAll(async () => {
  api = await startStubApi();
  for (const [id, name] of [
    [base, 'base'],
    [wider, 'wider'],
  ] as const)
    api.on('GET', `/v1/runs/${id}`, () => ({ ...run(id, name), stepViews: [], noReuse: false, gate: null, recipeYaml: '', given: null }));
  api.on(
    'GET',
    '/v1/runs/comparison',
    (): RunComparison => ({
      runs: [run(base, 'base'), run(wider, 'wider')],
      differences: [{ step: '384', path: 'model.embeddingDim', of: [{ value: 512 }, { value: 64 }] }],
      differencesTotal: 1,
      steps: [
        {
          name: '384',
          kind: 'train',
          of: [
            { ...step, scores: { 'mapAt100.end': 0.5 } },
            { ...step, scores: { 'mapAt100.end': 0.25 } },
          ],
        },
        { name: 'export', kind: 'export', of: [{ ...step, scores: {}, reusedFrom: { runId: wider, runName: 'wider' } }, null] },
      ],
    }),
  );
  api.on('GET', '/v1/models/landmark(@|%40)3/lineage', (): Lineage => {
    const node = { type: 'step', run: { id: base, name: 'base', source }, state: 'succeeded', artifact: null, finishedAt: at } as const;
    return {
      of: { model: 'landmark@3', run: { id: base, name: 'base', source } },
      roots: ['b'],
      isComplete: true,
      nodes: [
        {
          ...{ ...node, id: 'b', step: 'second', kind: 'train', scores: { mapAt100: 0.5 }, lists: [], reusedFrom: null },
          reads: [
            { role: 'lists', node: 'a', lists: ['clean'] },
            { role: 'start', node: 'w', lists: [] },
          ],
        },
        {
          ...{ ...node, id: 'a', step: 'prepare', kind: 'prepare', scores: {}, lists: [{ name: 'clean', rows: 1234, classes: 7 }] },
          ...{ reusedFrom: { runId: wider, runName: 'wider' }, reads: [{ role: 'dataset', node: 'd', lists: [] }] },
        },
        { type: 'dataset', id: 'd', name: 'mini', version: 1, digest, reads: [] },
        {
          ...{ type: 'weights', id: 'w', name: 'imagenet', sha256: digest, backbone: 'resnet50', source: 'a file', licence: null },
          ...{ owner: 'ada', importedAt: at, reads: [] },
        },
      ],
    };
  });
});
afterAll(() => api.close());

test('diff prints the settings that differ and what became of each step, a column a run', async () => {
  const { code, out } = await runTestCli(['diff', base, wider], { url: api.url });
  expect(code).toBe(0);
  expect(out).toMatch(/^384\.model\.embeddingDim +512 +64$/m);
  expect(out).toMatch(/^384 +succeeded, mAP@100 50\.0 %, 1\.00 GPU-hours +succeeded, mAP@100 25\.0 %, 1\.00 GPU-hours$/m);
  expect(out).toMatch(/^export +\S+ wider, 1\.00 GPU-hours/m);
  expect((await runTestCli(['diff', base], { url: api.url })).err).toMatch(/Name two to 8 runs/);
});

test('lineage prints what a model was made from as a tree', async () => {
  const { out } = await runTestCli(['lineage', 'landmark@3'], { url: api.url });
  expect(out.split('\n').map((line) => line.trimEnd())).toEqual([
    'landmark@3',
    '  commit cccccccccccc of team/landmarks, main',
    '  second, succeeded; mAP@100 50.0 %',
    '    lists (clean): prepare, succeeded, reused from wider; clean 1,234',
    `      dataset: dataset mini@1, sha256 ${'a'.repeat(16)}`,
    `    start: weights imagenet, resnet50, sha256 ${'a'.repeat(16)}, from a file`,
    '',
  ]);
});
