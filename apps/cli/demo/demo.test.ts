import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { aRun, aStep, idFor } from '@cairn/client/testing';
import { type ArtifactView, type Comparison, type StepView, stepSettings } from '@cairn/contract';
import { expect, onTestFinished, test } from 'vitest';
import { createStyle, glyphsFor } from '../output/style.ts';
import { requireSameStorage } from './demo-bucket.ts';
import { type DemoPlan, missingRequirements, parseDemoOptions } from './demo-options.ts';
import { demoSummary, furtherLines, type SearchedTogether, searchedTogether } from './demo-summary.ts';

const look = { style: createStyle(false), glyphs: glyphsFor({ LANG: 'C.UTF-8' }), now: new Date('2026-01-02T03:10:00Z') };
const artifactOf = (n: number, kind: ArtifactView['kind'], location: string): ArtifactView => ({
  id: idFor('art', n),
  kind,
  state: 'ready',
  digest: null,
  prefix: '',
  location,
  bytes: 1000,
  files: [],
  fileCount: 0,
  details: {},
  runId: null,
  createdAt: '2026-01-02T03:04:05.000Z',
});
const artifacts = new Map(
  [
    artifactOf(1, 'checkpoint', 'file:///d/ckp'),
    artifactOf(2, 'features', 'file:///d/idx/'),
    artifactOf(3, 'evaluation', 'file:///d/eva/'),
  ].map((view) => [view.id, view]),
);
const made = (n: number, kind: ArtifactView['kind']): Pick<StepView, 'artifact' | 'startedAt' | 'finishedAt'> => ({
  artifact: { id: idFor('art', n), kind, digest: null, prefix: '' },
  startedAt: '2026-01-02T03:04:05.000Z',
  finishedAt: '2026-01-02T03:04:53.000Z',
});
const steps: StepView[] = [
  aStep({
    name: '384',
    kind: 'train',
    state: 'succeeded',
    scores: { 'mapAt100.start': 0.217, 'mapAt100.end': 0.683 },
    ...made(1, 'checkpoint'),
  }),
  aStep({ name: '512_all', kind: 'train', state: 'succeeded', needs: ['384'], scores: { 'mapAt100.end': 0.67 } }),
  aStep({ name: 'extract_index', kind: 'extract', state: 'succeeded', needs: ['512_all'], ...made(2, 'features') }),
  aStep({
    name: 'evaluate',
    kind: 'evaluate',
    state: 'succeeded',
    needs: ['extract_index'],
    scores: { mapAt100: 0.671 },
    ...made(3, 'evaluation'),
  }),
  aStep({ name: 'register', kind: 'register', state: 'succeeded' }),
];

test('the summary has each step with its time and artifact, the scores stage by stage, the locations of the results, and the time', () => {
  const text = demoSummary({ run: aRun({ stepViews: steps }), artifacts, gains: [], seconds: 305 }, look).join('\n');
  expect(text).toBe(`
    step                  time   artifact
✔   384             run   48 s   file:///d/ckp
✔   512_all         run
✔   extract_index   run   48 s   file:///d/idx/
✔   evaluate        run   48 s   file:///d/eva/
✔   register        run

                            mAP@100   change
untrained                    21.7 %
after 384                    68.3 %    +46.6
after 512_all                67.0 %     -1.3
exported model, evaluated    67.1 %     +0.1

features (index)   file:///d/idx/
submission.csv     file:///d/eva/submission.csv

No step was reused; the same demo again reuses them all.
Total time 5 min 05 s`);
});

test('several models have their scores one after another, then those of all together, with intervals and what of the gain is the self-match', () => {
  const stageOf = (name: string, start: number, end: number) =>
    aStep({ name, kind: 'train', state: 'succeeded', scores: { 'mapAt100.start': start, 'mapAt100.end': end } });
  const together = (name: string, mode: string, references = 'index_train') =>
    aStep({
      ...{ name, kind: 'rerank', state: 'succeeded' },
      settings: stepSettings.rerank.parse({ weights: { A: 1, B: 1 }, references, rerank: { mode } }),
    });
  const scored = (name: string, search: string, mapAt100: number, n = 0) =>
    aStep({
      ...{ name, kind: 'evaluate', state: 'succeeded', needs: [search], ...(n > 0 && made(n, 'evaluation')) },
      scores: { mapAt100, 'mapAt100.low': mapAt100 - 0.05, 'mapAt100.high': mapAt100 + 0.05 },
    });
  const votes = (n: number, ofGallery: number): ArtifactView => {
    const references = { rows: 1600, ofGallery, ofQueries: 0, labelsWithoutFeatures: 0, withoutCountry: 0 };
    return { ...artifactOf(n, 'neighbours', 'file:///d/nei/'), details: { queries: 2, index: 'a', topK: 100, references } };
  };
  const stepViews = [
    stageOf('A-384', 0.1, 0.4),
    stageOf('B-384', 0.11, 0.35),
    aStep({ name: 'A-search', kind: 'search', needs: ['A-384'] }),
    scored('A-evaluate', 'A-search', 0.41),
    { ...together('rerank', 'before_merge'), ...made(4, 'neighbours') },
    scored('evaluate', 'rerank', 0.72, 3),
    { ...together('full_votes', 'before_merge', 'full'), ...made(5, 'neighbours') },
    scored('evaluate_full', 'full_votes', 0.53),
    together('no_votes', 'off'),
    scored('evaluate_no_votes', 'no_votes', 0.5),
  ];
  const all = new Map([...artifacts, ...[votes(4, 300), votes(5, 0)].map((view) => [view.id, view] as const)]);
  const gained = (difference: number): Comparison => {
    const means = { queries: 9, a: 0.5, b: 0.5 + difference, difference, low: difference - 0.02, high: difference + 0.02, p: 0.01 };
    const bootstrap = { method: 'percentile bootstrap over queries', level: 0.95, samples: 100, seed: 0 } as const;
    return {
      all: means,
      public: null,
      private: null,
      better: 1,
      worse: 0,
      equal: 8,
      gained: [],
      lost: [],
      isGalleryKnown: true,
      bootstrap,
    };
  };
  const [, ...reranked] = searchedTogether(stepViews, all);
  const gains = [0.22, 0.03].map((difference, at) => ({ searched: reranked[at] as SearchedTogether, comparison: gained(difference) }));
  const text = demoSummary({ run: aRun({ stepViews }), artifacts: all, gains, seconds: 305 }, look).join('\n');
  expect(text).toContain(`
                                                        mAP@100   95 % interval   change
before A-384                                             10.0 %
after A-384                                              40.0 %                    +30.0
before B-384                                             11.0 %
after B-384                                              35.0 %                    +24.0
A-evaluate, as exported                                  41.0 %    36.0 to 46.0     +1.0
2 models together, no rerank                             50.0 %    45.0 to 55.0
2 models together, rerank before_merge of index_train    72.0 %    67.0 to 77.0    +22.0
2 models together, rerank before_merge of full           53.0 %    48.0 to 58.0     +3.0
Rerank before_merge with votes of index_train, of whose 1,600 images 300 are in the index: +22.0 points of mAP@100 (95 % interval +20.0 to +24.0) against no rerank.
Rerank before_merge with votes of full, of whose 1,600 images none is in the index: +3.0 points of mAP@100 (95 % interval +1.0 to +5.0) against no rerank.
So 19.0 of the 22.0 points are the self-match: images of the index vote with their own labels, from which the ground truths come.
`);
  expect(text).toContain('submission.csv (evaluate)   file:///d/eva/submission.csv');
});

test('when every step was reused it says so', () => {
  const reused = steps.map((step) => (step.kind === 'register' ? step : { ...step, state: 'reused' as const }));
  const text = demoSummary({ run: aRun({ stepViews: reused }), artifacts, gains: [], seconds: 12 }, look).join('\n');
  expect(text).toContain('Every step was reused: nothing they depend on has changed.');
  expect(text).toMatch(/↺ {3}384 +reused +file/);
});

test('when some were reused it says how many', () => {
  const some = steps.map((step, index) => (index === 0 ? { ...step, state: 'reused' as const } : step));
  expect(demoSummary({ run: aRun({ stepViews: some }), artifacts, gains: [], seconds: 12 }, look).join('\n')).toContain(
    '1 of 5 steps were reused',
  );
});

const inFolders = { storage: 'folder', images: 'folder' } as const;

test('the suggested commands name the home, quoted where necessary, and start the service when it is down', () => {
  const lines = furtherLines(aRun(), { ...inFolders, home: "/tmp/it's here", isKept: false }, look).join('\n');
  expect(lines).toContain(`npx cairn --home '/tmp/it'\\''s here' up`);
  expect(furtherLines(aRun(), { ...inFolders, home: '/tmp/demo', isKept: true }, look).join('\n')).not.toContain(' up');
  const onBucket = furtherLines(aRun(), { storage: 's3', images: 'folder', home: '/tmp/demo', isKept: false }, look).join('\n');
  expect(onBucket).toContain('npm run demo -- --home /tmp/demo --storage s3 --images folder --keep');
});

test('a demo on a bucket has a home of its own, unless one is given, and keeps the storage of its artifacts', async () => {
  const homeOf = (...args: string[]) => parseDemoOptions(args, { CAIRN_HOME: '/c' })?.home;
  expect([homeOf(), homeOf('--images', 's3'), homeOf('--storage', 's3'), homeOf('--storage', 's3', '--home', '/d')]).toEqual([
    ...['/c/demo', '/c/demo', '/c/demo-s3', '/d'],
  ]);
  expect(() => parseDemoOptions(['--storage', 'tape'], {})).toThrow(/tape/);
  const home = await mkdtemp(join(tmpdir(), 'cairn-demo-'));
  onTestFinished(() => rm(home, { recursive: true }));
  await requireSameStorage(home, 's3');
  await requireSameStorage(home, 's3');
  await expect(requireSameStorage(home, 'folder')).rejects.toMatchObject({
    code: 'wrong_state',
    message: `The artifacts of ${home} are in a bucket`,
    details: { remedy: expect.stringContaining('--storage s3') },
  });
});

const place = { slots: 2, home: '/demo' };
const sha256 = 'ab'.repeat(32);

function planOf(change: Partial<DemoPlan['steps'][number]> = {}): DemoPlan {
  const recipe = { name: 'fast', model: { backbone: 'resnet50' }, stages: { '256': { weights: 'resnet50-19c8e357' } } };
  const given = [{ role: 'weights', name: 'resnet50-19c8e357', sha256 }];
  return { recipe, steps: [{ name: '256', action: 'run', slots: 2, given, ...change }] };
}

test('a recipe that fits can run', () => {
  expect(missingRequirements(planOf(), place)).toBeNull();
  expect(missingRequirements(planOf({ action: 'reuse', slots: 8 }), place)).toBeNull();
});

test('a recipe for a cluster is refused with everything that is missing and what to do', () => {
  const error = missingRequirements(planOf({ slots: 8, given: [{ role: 'weights', name: 'resnet50-19c8e357', sha256: null }] }), place);
  expect(error).toMatchObject({
    code: 'invalid_request',
    message:
      'the recipe fast needs more than the demo has: 256 trains on 8 slots at once, and the demo has 2; the weights resnet50-19c8e357 are not imported',
  });
  const remedy = String(error?.details.remedy);
  expect(remedy).toContain('reduce this one: --set stages.256.ranks=2 --set stages.256.weights=null.');
  expect(remedy).toContain('`npx cairn --home /demo import weights resnet50-19c8e357.pth --backbone resnet50`');
});

test('missing weights are listed once, however many steps need them', () => {
  const [step] = planOf({ action: 'wait-for-same', given: [{ role: 'weights', name: 'resnet50-19c8e357', sha256: null }] }).steps;
  const plan = { ...planOf(), steps: [step, { ...step, name: 'register' }] as DemoPlan['steps'] };
  const error = missingRequirements(plan, place);
  expect(error?.message).toBe('the recipe fast needs more than the demo has: the weights resnet50-19c8e357 are not imported');
  const remedy = String(error?.details.remedy);
  expect(remedy).toContain('reduce this one: --set stages.256.weights=null. To start');
  expect(remedy.split('import weights')).toHaveLength(2);
});

test('the settings of one of several models are named by their path', () => {
  const { recipe, steps } = planOf({ name: 'A-256', slots: 8, given: [{ role: 'weights', name: 'resnet50-19c8e357', sha256: null }] });
  const error = missingRequirements({ recipe: { name: 'both', stages: {}, models: { A: recipe } }, steps }, place);
  const remedy = String(error?.details.remedy);
  expect(remedy).toContain('or reduce this one: --set models.A.stages.256.ranks=2 --set models.A.stages.256.weights=null.');
  expect(remedy).toContain('import weights resnet50-19c8e357.pth --backbone resnet50');
});

test('available weights are not listed', () => {
  const error = missingRequirements(planOf({ slots: 8 }), place);
  expect(error?.message).not.toContain('weights');
  expect(String(error?.details.remedy)).toMatch(/--set stages\.256\.ranks=2\.$/);
});
