import { aRun, aStep, idFor } from '@cairn/client/testing';
import type { ArtifactView, StepView } from '@cairn/contract';
import { expect, test } from 'vitest';
import { createStyle, glyphsFor } from '../output/style.ts';
import { demoSummary, furtherLines } from './demo-summary.ts';

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
  aStep({ name: '512_all', kind: 'train', state: 'succeeded', scores: { 'mapAt100.end': 0.67 } }),
  aStep({ name: 'extract_index', kind: 'extract', state: 'succeeded', ...made(2, 'features') }),
  aStep({ name: 'evaluate', kind: 'evaluate', state: 'succeeded', scores: { mapAt100: 0.671 }, ...made(3, 'evaluation') }),
  aStep({ name: 'register', kind: 'register', state: 'succeeded' }),
];

test('the summary has each step with its time and artifact, the scores stage by stage, the locations of the results, and the time', () => {
  const text = demoSummary({ run: aRun({ stepViews: steps }), artifacts, seconds: 305 }, look).join('\n');
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

test('when every step was reused it says so', () => {
  const reused = steps.map((step) => (step.kind === 'register' ? step : { ...step, state: 'reused' as const }));
  const text = demoSummary({ run: aRun({ stepViews: reused }), artifacts, seconds: 12 }, look).join('\n');
  expect(text).toContain('Every step was reused: nothing they depend on has changed.');
  expect(text).toMatch(/↺ {3}384 +reused +file/);
});

test('when some were reused it says how many', () => {
  const some = steps.map((step, index) => (index === 0 ? { ...step, state: 'reused' as const } : step));
  expect(demoSummary({ run: aRun({ stepViews: some }), artifacts, seconds: 12 }, look).join('\n')).toContain('1 of 5 steps were reused');
});

test('the suggested commands name the home, quoted where necessary, and start the service when it is down', () => {
  const lines = furtherLines(aRun(), { home: "/tmp/it's here", isKept: false }, look).join('\n');
  expect(lines).toContain(`npx cairn --home '/tmp/it'\\''s here' up`);
  expect(furtherLines(aRun(), { home: '/tmp/demo', isKept: true }, look).join('\n')).not.toContain(' up');
});
