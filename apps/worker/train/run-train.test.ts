import { readFileSync, truncateSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type AttemptSpecOf, CairnError, isCairnError, type ResumePoint } from '@cairn/contract';
import { newId, processesByAttempt, sha256 } from '@cairn/runtime';
import { expect, test, vi } from 'vitest';
import { openAttempt } from '../testing/open-attempt.ts';
import { stubPython } from '../testing/run-main.ts';
import { artifactOf, specOf } from '../testing/specs.ts';
import { runTrain } from './run-train.ts';

vi.setConfig({ testTimeout: 30_000 });

const eventually = <T>(read: () => T) => expect.poll(read, { timeout: 45_000, interval: 15 });

const listFiles = {
  'lists/clean.parquet': Buffer.from('clean rows'),
  'lists/query.parquet': Buffer.from('query rows'),
  'lists/index.parquet': Buffer.from('index rows'),
  'lists/ground_truth.parquet': Buffer.from('truth'),
};
const lists = artifactOf('lists', 'lists/art_1/', listFiles, { lists: { clean: { rows: 12, distinct: 12, classes: 5 } } });

type Overrides = Partial<AttemptSpecOf<'train'>> & { evaluate?: AttemptSpecOf<'train'>['settings']['evaluate'] };

async function openTraining(env: Record<string, string> = {}, { evaluate = 'none', ...overrides }: Overrides = {}) {
  const base = specOf('train', { inputs: { lists }, ...overrides });
  const spec = { ...base, settings: { ...base.settings, evaluate } };
  const attempt = await openAttempt(spec, { python: stubPython(), env });
  for (const [name, bytes] of Object.entries(listFiles)) await attempt.store.put(`lists/art_1/${name}`, bytes);
  return attempt;
}

async function storeCheckpoint(store: { put(key: string, bytes: string): Promise<unknown> }, step: number): Promise<ResumePoint> {
  const content = `the checkpoint of step ${step}`;
  const key = `staging/att_earlier/checkpoints/step-${step}.pt`;
  await store.put(key, content);
  return { id: newId('checkpoint'), key, bytes: content.length, sha256: sha256(content), step, epoch: step };
}

test('a stage trains to its end: curves, scores, bad images and checkpoints are reported, the final checkpoint is its result', async () => {
  const { context, plane, store, reporter, lines } = await openTraining({}, { evaluate: 'start_and_end' });
  const outcome = await runTrain(context);
  await reporter.end();
  const key = `${context.spec.stagingPrefix}checkpoint.pt`;
  const content = await store.getBytes(key);
  expect(outcome).toEqual({
    outcome: 'succeeded',
    files: [{ name: 'checkpoint.pt', key, bytes: content.length, sha256: sha256(content) }],
    details: { step: 4, epoch: 2, classes: 5, mapAt100Start: 0.25, mapAt100End: 0.75, galleryDigest: 'ab'.repeat(32) },
  });
  expect(
    plane
      .items('metrics')
      .filter((item) => item.name === 'loss')
      .flatMap((item) => item.values),
  ).toEqual([4, 2, 4 / 3, 1]);
  expect(plane.items('checkpoint').map(({ step, final }) => [step, final])).toContainEqual([4, true]);
  expect(plane.items('evaluation').map(({ when, mapAt100 }) => [when, mapAt100])).toEqual([
    ['start', 0.25],
    ['end', 0.75],
  ]);
  expect(plane.items('badImage')).toEqual([{ type: 'badImage', imageId: 'abc', path: 'train/a/b/c/abc.jpg', reason: 'truncated' }]);
  // The history of a run keeps some of them, the log all.
  expect(lines.join('')).toMatch(/"imageId":"abc","path":"train\/a\/b\/c\/abc\.jpg","reason":"truncated".*cannot be read/);
  expect(plane.items('progress').at(-1)).toMatchObject({ done: 4, total: 4, unit: 'steps', rate: 20, rateUnit: 'images' });
  expect(plane.logText('stdout')).toBe('training ä\n');
});

test.each([
  ['trains to its end', {}, 'succeeded'],
  ['fails', { STUB_BEHAVIOUR: 'fail' }, 'failed'],
])('the curves of a stage that %s are stored for TensorBoard, next to its result', async (_, env, outcome) => {
  const { context, store } = await openTraining(env);
  expect((await runTrain(context)).outcome).toBe(outcome);
  const key = `${context.spec.stagingPrefix}tensorboard/events.out.tfevents.1.2`;
  expect((await store.getBytes(key)).toString()).toBe('curves');
});

test('curves that cannot be stored do not end a stage', async () => {
  const { context, plane, reporter } = await openTraining();
  const put: typeof context.store.put = async (key, ...rest) => {
    if (key.includes('/tensorboard/')) throw new CairnError('storage_failed', 'The bucket is away');
    return context.store.put(key, ...rest);
  };
  expect(await runTrain({ ...context, store: { ...context.store, put } })).toMatchObject({ outcome: 'succeeded' });
  await reporter.end();
  expect(plane.items('note').map((item) => item.message)).toContain('The files for TensorBoard were not stored: The bucket is away');
});

test('a score between epochs is reported and plotted, and is not the score of the stage', async () => {
  const { context, plane, reporter } = await openTraining({}, { evaluate: 'every_epoch' });
  const outcome = await runTrain(context);
  await reporter.end();
  expect(plane.items('evaluation').map(({ when, mapAt100 }) => [when, mapAt100])).toEqual([
    ['epoch', 0.5],
    ['end', 0.75],
  ]);
  expect(plane.items('metrics').flatMap((item) => (item.name === 'map_at_100' ? item.values : []))).toEqual([0.5, 0.75]);
  expect(outcome).toMatchObject({ details: { mapAt100End: 0.75 } });
  expect(outcome).not.toMatchObject({ details: { mapAt100Start: expect.anything() } });
});

test('every reported checkpoint is stored as reported', async () => {
  const { context, plane, store, reporter } = await openTraining({ STUB_STEPS: '8', STUB_STEP_MS: '60' });
  await runTrain(context);
  await reporter.end();
  const items = plane.items('checkpoint');
  expect(items.length).toBeGreaterThan(0);
  for (const { key, bytes, sha256: digest } of items) {
    const content = await store.getBytes(key);
    expect([content.length, sha256(content)]).toEqual([bytes, digest]);
  }
});

test('a truncated checkpoint is skipped with a note, in favour of the previous one', async () => {
  const { context, plane, store, reporter } = await openTraining();
  const points = [await storeCheckpoint(store, 40), await storeCheckpoint(store, 20), await storeCheckpoint(store, 10)];
  truncateSync(join(fileURLToPath(store.url), points[0]?.key ?? ''), 7);
  const outcome = await runTrain({ ...context, spec: { ...context.spec, resume: points } });
  await reporter.end();
  expect(outcome.outcome).toBe('succeeded');
  const result = await store.getBytes(`${context.spec.stagingPrefix}checkpoint.pt`);
  expect(result.toString()).toBe('weights of step 4, from the checkpoint of step 20');
  expect(plane.items('note').map((item) => item.message)).toContainEqual(expect.stringMatching(/checkpoint of step 40 .* skipped/));
});

test('without a valid checkpoint the stage starts from its beginning', async () => {
  const { context, store } = await openTraining();
  const gone = { ...(await storeCheckpoint(store, 40)), key: 'staging/att_earlier/none.pt' };
  await runTrain({ ...context, spec: { ...context.spec, resume: [gone] } });
  const result = await store.getBytes(`${context.spec.stagingPrefix}checkpoint.pt`);
  expect(result.toString()).toBe('weights of step 4, from the start');
});

test('an input that differs from its manifest ends the attempt before the trainer starts', async () => {
  const { context, store } = await openTraining();
  await store.put('lists/art_1/lists/clean.parquet', 'other rows');
  const error = await runTrain(context).catch((thrown: unknown) => thrown);
  expect(isCairnError(error, 'corrupt_artifact')).toBe(true);
});

test('a checkpoint that changed on its way into the storage is not a result', async () => {
  const { context, plane, reporter } = await openTraining({ STUB_BEHAVIOUR: 'spoil' });
  await expect(runTrain(context)).rejects.toMatchObject({ code: 'corrupt_artifact' });
  await reporter.end();
  expect(plane.items('checkpoint')).toEqual([]);
});

test('the final checkpoint waits for a full storage, and both the wait and its end are reported', async () => {
  const { context, plane, reporter } = await openTraining();
  let refusals = 2;
  const store: typeof context.store = {
    ...context.store,
    put: async (key, ...rest) => {
      if (key.endsWith('/checkpoint.pt') && refusals-- > 0) throw new CairnError('storage_full', 'No space is left');
      return context.store.put(key, ...rest);
    },
  };
  expect(await runTrain({ ...context, store })).toMatchObject({ outcome: 'succeeded' });
  await reporter.end();
  const notes = plane.items('note').map(({ level, message }) => [level, message]);
  expect(notes.filter(([, message]) => message?.includes('storage'))).toEqual([
    ['warning', 'Waiting for the storage: No space is left'],
    ['info', 'The storage is available again'],
  ]);
});

test('a list that was not prepared is named', async () => {
  const { context } = await openTraining({}, { inputs: { lists: { ...lists, details: { lists: {} } } } });
  await expect(runTrain(context)).rejects.toThrow(/do not contain a list "clean"/);
});

test.each([
  ['training_diverged', 'user'],
  ['too_many_bad_images', 'data'],
  ['storage_full', 'infrastructure'],
])('a trainer that fails with %s ends the attempt with the cause %s', async (code, cause) => {
  const { context } = await openTraining({ STUB_BEHAVIOUR: 'fail', STUB_CODE: code });
  expect(await runTrain(context)).toEqual({ outcome: 'failed', cause, code, message: 'The loss of step 1 is not finite' });
});

test('a trainer killed without a report fails with its last output', async () => {
  const { context } = await openTraining({ STUB_BEHAVIOUR: 'vanish' });
  const outcome = await runTrain(context);
  expect(outcome).toMatchObject({ outcome: 'failed', cause: 'infrastructure', code: 'program_failed' });
  expect(outcome).toHaveProperty('message', expect.stringMatching(/was killed by SIGKILL[\s\S]*RuntimeError: out of memory/));
});

test('on a directive to stop the attempt saves a checkpoint within the grace period and ends as preempted', async () => {
  const { context, plane, reporter } = await openTraining({ STUB_STEPS: '10000', STUB_STEP_MS: '20' });
  const running = runTrain(context);
  await eventually(() => plane.items('metrics').length).toBeGreaterThan(0);
  plane.state.reply = { directive: 'stop', cause: 'preempted', reason: 'a larger run needs the node', graceSeconds: 20 };
  const outcome = await running;
  await reporter.end();
  const last = plane.items('checkpoint').at(-1);
  expect(outcome).toEqual({ outcome: 'preempted', message: `saved and stopped at step ${last?.step} (a larger run needs the node)` });
});

test('a run that is cancelled ends as cancelled', async () => {
  const { context, plane } = await openTraining({ STUB_STEPS: '10000', STUB_STEP_MS: '20' });
  const running = runTrain(context);
  // Before its program runs, an attempt ends with the stop itself.
  await eventually(() => processesByAttempt().get(context.spec.attempt.id)).toBeDefined();
  plane.state.reply = { directive: 'stop', cause: 'cancelled', reason: 'cancelled by ann', graceSeconds: 20 };
  expect(await running).toMatchObject({ outcome: 'cancelled' });
});

test('a trainer that ignores the stop is killed before the grace period ends, with its children', async () => {
  const { context, stop } = await openTraining({ STUB_BEHAVIOUR: 'stubborn' });
  const running = runTrain(context);
  await eventually(() => processesByAttempt().get(context.spec.attempt.id)?.length).toBe(2);
  stop.ask({ cause: 'interrupted', reason: 'the node is drained', graceSeconds: 0.5 });
  expect(await running).toMatchObject({ outcome: 'preempted' });
  expect(processesByAttempt().get(context.spec.attempt.id)).toBeUndefined();
});

test('a trainer without progress is ended as a hang, with the stacks of its ranks in the log', async () => {
  const { context, plane, reporter } = await openTraining({ STUB_BEHAVIOUR: 'hang' }, { hangSeconds: 1.5 });
  const outcome = await runTrain(context);
  await reporter.end();
  expect(outcome).toMatchObject({ outcome: 'failed', cause: 'infrastructure', code: 'hang' });
  expect(plane.logText('stderr')).toContain('Fatal Python error: Aborted');
  expect(processesByAttempt().get(context.spec.attempt.id)).toBeUndefined();
});

test('a superseded attempt kills its trainer at once and reports nothing more', async () => {
  const { context, plane } = await openTraining({ STUB_STEPS: '10000', STUB_STEP_MS: '20' });
  const running = runTrain(context);
  await eventually(() => plane.items('metrics').length).toBeGreaterThan(0);
  plane.state.superseded = true;
  await expect(running).rejects.toMatchObject({ code: 'superseded' });
  expect(processesByAttempt().get(context.spec.attempt.id)).toBeUndefined();
});

test('a control plane that is away does not stop training, and gets all reports when it is back', async () => {
  const { context, plane, reporter } = await openTraining({ STUB_STEPS: '60' });
  const running = runTrain(context);
  await eventually(() => plane.state.reports.length).toBeGreaterThan(0);
  await plane.down();
  const outcome = await running;
  await plane.up();
  await reporter.end();
  expect(outcome.outcome).toBe('succeeded');
  const steps = plane
    .items('metrics')
    .filter((item) => item.name === 'loss')
    .flatMap((item) => item.steps);
  expect(steps).toEqual(Array.from({ length: 60 }, (_, index) => index + 1));
});

test('an interpreter that does not exist is an error that says what to set', async () => {
  const { context } = await openTraining();
  await expect(runTrain({ ...context, python: '/no/such/python' })).rejects.toThrow(/\/no\/such\/python cannot be started.*CAIRN_PYTHON/);
});

test("the trainer gets the stage in the contract's format", async () => {
  const { context, workDir } = await openTraining({}, { evaluate: 'end' });
  await runTrain(context);
  const config = JSON.parse(readFileSync(join(workDir, 'stage/stage.json'), 'utf8'));
  expect(config).toMatchObject({ classes: 5, list: { rows: 12 }, model: { backbone: 'resnet18' }, start: null, resume: null });
  expect(config.settings).not.toHaveProperty('model');
  expect(readFileSync(config.evaluation.groundTruth, 'utf8')).toBe('truth');
});

test.each([
  { kind: 'checkpoint', file: 'checkpoint.pt', passed: 'start' },
  { kind: 'weights', file: 'weights.pth', passed: 'weights' },
] as const)('what was imported as $kind is passed to the trainer as $passed', async ({ kind, file, passed }) => {
  const files = { [file]: Buffer.from('tensors') };
  const { context, store, workDir } = await openTraining({}, { inputs: { lists, weights: artifactOf(kind, 'imported/art_2/', files) } });
  await store.put(`imported/art_2/${file}`, 'tensors');
  context.spec.settings.weights = 'theirs';
  await runTrain(context);
  const { start, weights } = JSON.parse(readFileSync(join(workDir, 'stage/stage.json'), 'utf8'));
  const found = { start, weights };
  expect(found).toEqual({ start: null, weights: null, [passed]: { path: expect.stringMatching(`${file}$`), sha256: sha256('tensors') } });
});
