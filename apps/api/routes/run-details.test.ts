import {
  attentionView,
  checkpointList,
  logLines,
  logMatches,
  metricsView,
  type ReportItem,
  runPage,
  runTimeline,
  runView,
  type SubmitRequestInput,
} from '@cairn/contract';
import { dropStaging, recordPools } from '@cairn/engine';
import { smallRecipe } from '@cairn/engine/testing';
import { beforeEach, expect, test } from 'vitest';
import { openTestApi } from '../testing/test-api.ts';

const { harness, prisma, call } = await openTestApi();
const { engine } = harness;
await recordPools(harness.ctx, [
  { name: 'gpu', executor: 'process', slots: 8, attemptSlots: null },
  { name: 'tasks', executor: 'process', slots: 1, attemptSlots: null },
]);
beforeEach(() => prisma.$executeRaw`update run set state = 'cancelled' where state <> 'failed'`);

let variant = 0;
const submit = (change: Partial<SubmitRequestInput> = {}) => {
  variant += 1;
  return harness.submit({ recipe: smallRecipe, set: { 'stages.first.seed': variant, 'prepare.testSeed': variant }, ...change });
};
const get = async (path: string, query: Record<string, string> = {}) => {
  const { status, json } = await call('viewer', 'GET', path, { query });
  expect(status, JSON.stringify(json)).toBe(200);
  return json;
};
const show = async (runId: string) => runView.parse(await get(`/v1/runs/${runId}`));
const listed = async (runId: string) =>
  runPage.parse(await get('/v1/runs', { q: runId })).items[0] ?? expect.fail(`${runId} is not listed`);
const stepOf = async (runId: string, name: string) =>
  (await show(runId)).stepViews.find((step) => step.name === name) ?? expect.fail(`no step ${name}`);

let seq = 0;
const report = (attemptId: string, ...items: ReportItem[]) => {
  seq += 1;
  return engine.report(attemptId, 1, { seq, at: new Date().toISOString(), items });
};
/** The attempt began this long ago. */
const began = (attemptId: string, secondsAgo: number) =>
  prisma.attempt.update({ where: { id: attemptId }, data: { startedAt: new Date(Date.now() - secondsAgo * 1000) } });

test('a run shows what was submitted, what each step reads, and what may be done', async () => {
  const id = await submit({ recipe: 'tiny', set: { 'stages.384.epochs': 1 }, dataset: 'toy', until: ['384'] });
  const run = await show(id);
  expect(run.given).toEqual({ recipe: 'tiny', set: { 'stages.384.epochs': 1 }, until: ['384'] });
  expect(run.recipeYaml).toMatch(/^name: tiny$/m);
  expect(run.actions).toEqual([
    { action: 'cancel', isAllowed: true, why: null },
    { action: 'retry', isAllowed: false, why: 'the run is queued; only a run that is succeeded, failed or cancelled can be retried' },
    { action: 'release', isAllowed: false, why: 'the run is queued; only a run that is held can be released' },
  ]);
  const stage = await stepOf(id, '384');
  expect(stage).toMatchObject({
    pool: 'gpu',
    reads: [{ role: 'lists', step: 'prepare', weights: null }],
    actions: [{ action: 'retry', isAllowed: false }],
  });
  expect((await show(await submit())).given).toMatchObject({ recipe: null });
});

test('a list shows how far a run is, its scores and its GPU time, and the same as the run itself', async () => {
  const id = await submit({ name: 'watched' });
  await harness.play(id, 'prepare');
  const [attempt = ''] = await harness.startAttempts(id, 'first');
  await began(attempt, 100);
  const progress = { type: 'progress', done: 30, total: 60, unit: 'steps', rate: 2, etaSeconds: 15, message: '64 images/s' } as const;
  await report(attempt, progress, { type: 'evaluation', when: 'epoch', step: 30, mapAt100: 0.41 });
  const { slots } = await prisma.attempt.findUniqueOrThrow({ where: { id: attempt } });
  const total = (await show(id)).stepViews.length;
  const during = await listed(id);
  expect(during).toMatchObject({
    now: 'first: 30 of 60 steps, 64 images/s',
    steps: { done: 1, total },
    mapAt100: { best: 0.41, last: 0.41 },
  });
  expect(during.share).toBeCloseTo(1.5 / total);
  expect(during.gpuSeconds / slots).toBeGreaterThanOrEqual(100);
  expect(during.gpuSeconds / slots).toBeLessThan(160);

  await engine.finishAttempt(attempt, 1, {
    ...{ outcome: 'succeeded', files: [harness.file('checkpoint.pt', attempt)] },
    details: { step: 60, mapAt100Start: 0.1, mapAt100End: 0.5 },
  });
  await harness.finalize(id, 'first');
  const [second = ''] = await harness.startAttempts(id, 'second');
  await report(second, { type: 'evaluation', when: 'end', step: 9, mapAt100: 0.45 });
  const after = await listed(id);
  expect(after.mapAt100).toEqual({ best: 0.5, last: 0.45 });
  const { gpuSeconds, ...run } = await show(id);
  const shown = Object.fromEntries(Object.keys(after).map((key) => [key, Reflect.get(run, key)]));
  expect({ ...shown, gpuSeconds: 0 }).toEqual({ ...after, gpuSeconds: 0 });
  expect(Math.abs(gpuSeconds - after.gpuSeconds)).toBeLessThan(5);
  // A retry of the stage forgets its score.
  const actor = { name: 'ada', projectId: 'default', tokenId: 'tok', address: '' };
  await engine.cancelRun(id, actor, '');
  await engine.finishAttempt(second, 1, { outcome: 'cancelled', message: '' });
  await engine.retryRun(id, actor, 'first');
  expect((await listed(id)).mapAt100).toEqual({ best: null, last: null });
  expect((await listed(id)).gpuSeconds).toBeGreaterThanOrEqual(100 * slots);
});

test('a failure says what happened to which attempt, what was done and what to do, and needs attention', async () => {
  const id = await submit({ name: 'unlucky' });
  await harness.play(id, 'prepare');
  const lost = { outcome: 'failed', cause: 'infrastructure', code: 'node_lost', message: 'its node node-7 was lost' } as const;
  for (let n = 0; n < 2; n += 1) {
    await prisma.step.updateMany({ where: { runId: id }, data: { notBefore: null } });
    const [attempt = ''] = await harness.startAttempts(id, 'first');
    await engine.finishAttempt(attempt, 1, lost);
    await prisma.attempt.update({ where: { id: attempt }, data: { avoidNode: 'node-7' } });
  }
  expect((await stepOf(id, 'first')).failureCard).toMatchObject({
    ...{ code: 'node_lost', title: 'Node lost', cause: 'infrastructure', message: lost.message, fix: 'operator' },
    attempt: { ordinal: 2 },
    done: ['It was retried 2 times after infrastructure failures (at most 5 retries).', 'New attempts avoid the node node-7.'],
  });
  const [attempt = ''] = await harness.startAttempts(id, 'first');
  const memory = {
    outcome: 'failed',
    cause: 'user',
    code: 'out_of_memory',
    message: 'CUDA out of memory\nTried to allocate 2 GiB',
  } as const;
  await engine.finishAttempt(attempt, 1, memory);
  expect((await stepOf(id, 'first')).failureCard).toMatchObject({
    ...{ title: 'Out of memory', message: memory.message, remedy: expect.stringContaining('Lower `batch`') },
    attempt: { id: attempt, ordinal: 3 },
    done: expect.arrayContaining(['It was not retried after mistakes in the recipe or the settings, which would fail the same way again.']),
  });
  expect(await listed(id)).toMatchObject({ state: 'failed', now: 'first failed: CUDA out of memory' });
  const { items, total } = attentionView.parse(await get('/v1/attention'));
  expect(total).toBe(items.length);
  expect(items).toContainEqual({
    ...{ kind: 'failed-run', id, sentence: 'unlucky failed at first: CUDA out of memory', since: expect.any(String) },
    ...{ run: { id, name: 'unlucky' }, step: 'first', attemptId: null },
  });
  expect(items.find(({ kind }) => kind === 'sick-node')).toMatchObject({
    id: 'node-7',
    sentence: expect.stringMatching(
      /^2 attempts failed on the node node-7 in the last 24 hours, the last one because its node node-7 was lost\. Check/,
    ),
  });

  const timeline = runTimeline.parse(await get(`/v1/runs/${id}/timeline`));
  expect(timeline.steps.map(({ name }) => name)).toEqual((await show(id)).stepViews.map(({ name }) => name));
  expect(timeline.attempts.map(({ step, ordinal, state, failure }) => [step, ordinal, state, failure?.message ?? null])).toEqual([
    ['prepare', 1, 'succeeded', null],
    ['first', 1, 'failed', lost.message],
    ['first', 2, 'failed', lost.message],
    ['first', 3, 'failed', 'CUDA out of memory'],
  ]);
  expect(timeline).toMatchObject({ attemptsTotal: 4, finishedAt: expect.any(String) });
  // The log of an attempt that was preempted does not say why the step failed.
  await prisma.attempt.update({ where: { id: attempt }, data: { failure: { cause: 'preemption', code: 'preempted', message: '' } } });
  expect((await stepOf(id, 'first')).failureCard).toMatchObject({ title: 'Out of memory', attempt: { ordinal: 2 } });
});

test('what waits for a long time, is silent or has no controller needs attention', async () => {
  const id = await submit({ name: 'patient' });
  await harness.play(id, 'prepare');
  const [attempt = ''] = await harness.startAttempts(id, 'first');
  await prisma.attempt.update({ where: { id: attempt }, data: { contact: 'silent', place: 'node-3', slots: 8 } });
  const other = await submit({ name: 'behind-it' });
  await harness.play(other, 'prepare');
  const attention = async () =>
    attentionView.parse(await get('/v1/attention')).items.filter(({ run }) => run !== null && [id, other].includes(run.id));
  expect((await attention()).map(({ kind }) => kind)).toEqual(['sick-attempt']);
  await prisma.step.updateMany({ where: { runId: other, name: 'first' }, data: { readyAt: new Date(Date.now() - 3_600_000) } });
  await expect.poll(attention, { timeout: 45_000 }).toMatchObject([
    {
      kind: 'waiting-step',
      step: 'first',
      sentence: expect.stringMatching(/^first of behind-it waits: needs .* of pool gpu, where 0 of 8 are free/),
    },
    {
      kind: 'sick-attempt',
      id: attempt,
      sentence: 'Attempt 1 of first of patient on node-3: it does not report; it continues, or is replaced once it is known to be gone',
    },
  ]);
  await prisma.$executeRaw`update leadership set expires_at = now() - interval '1 second'`;
  await expect.poll(async () => (await get('/v1/attention')).items[0].kind, { timeout: 45_000 }).toBe('no-leader');
  await prisma.$executeRaw`update leadership set expires_at = now() + interval '1 hour'`;
});

test('the curve and the checkpoints of a stage stay readable over its attempts and after its end', async () => {
  const id = await submit();
  const path = `/v1/runs/${id}/steps/first`;
  await harness.play(id, 'prepare');
  const [first = ''] = await harness.startAttempts(id, 'first');
  const checkpoint = (attempt: string, step: number, final = false) =>
    ({
      type: 'checkpoint',
      key: `staging/${attempt}/${step}.pt`,
      bytes: 7,
      sha256: 'a'.repeat(64),
      step,
      epoch: step / 10,
      final,
    }) as const;
  const loss = (steps: number[], value: number) =>
    ({ type: 'metrics', name: 'loss', steps, values: steps.map(() => value), times: steps.map((step) => step * 10) }) as const;
  await report(first, checkpoint(first, 10), loss([5, 10, 15], 2));
  await engine.finishAttempt(first, 1, { outcome: 'preempted', message: 'its node was drained' });
  await prisma.step.updateMany({ where: { runId: id }, data: { notBefore: null } });
  const [second = ''] = await harness.startAttempts(id, 'first');
  const { id: checkpointId } = await prisma.checkpoint.findFirstOrThrow({ where: { attemptId: first } });
  await report(second, { type: 'resumed', checkpointId, step: 10, epoch: 1 }, loss([15, 20], 1), checkpoint(second, 20, true));

  const curve = metricsView.parse(await get(`${path}/metrics`));
  expect(curve.series).toEqual([{ name: 'loss', steps: [5, 10, 15, 20], values: [2, 2, 1, 1], times: [50, 100, 150, 200], total: 4 }]);
  expect(curve.attempts).toMatchObject([
    { id: first, resumedFrom: null, firstStep: 5, lastStep: 10 },
    { id: second, resumedFrom: 10, firstStep: 15, lastStep: 20 },
  ]);
  expect(metricsView.parse(await get(`${path}/metrics`, { after: '15' })).series).toMatchObject([{ steps: [20] }]);

  const checkpoints = async () => checkpointList.parse(await get(`${path}/checkpoints`)).items;
  expect(await checkpoints()).toMatchObject([
    { attemptId: second, ordinal: 2, step: 20, epoch: 2, bytes: 7, final: true, verifiedAt: null, removedAt: null },
    { attemptId: first, ordinal: 1, step: 10, final: false, verifiedAt: expect.any(String), removedAt: null },
  ]);
  await engine.finishAttempt(second, 1, { outcome: 'succeeded', files: [harness.file('checkpoint.pt', second)], details: { step: 20 } });
  await harness.finalize(id, 'first');
  const step = await harness.step(id, 'first');
  expect(await dropStaging(harness.ctx, step.id, step.generation)).toHaveLength(2);
  expect(await checkpoints()).toMatchObject([
    { step: 20, verifiedAt: expect.any(String), removedAt: expect.any(String) },
    { step: 10, removedAt: expect.any(String) },
  ]);
});

test('a log is read by line, searched, and read from its end', async () => {
  const id = await submit();
  await harness.play(id, 'prepare');
  const [attempt = ''] = await harness.startAttempts(id, 'first');
  const text = Array.from({ length: 300 }, (_, n) => `step ${n + 1}\n`).join('');
  const half = text.slice(0, 1_500);
  await report(attempt, { type: 'log', stream: 'stdout', offset: 0, text: half });
  await report(attempt, { type: 'log', stream: 'stdout', offset: half.length, text: text.slice(1_500) });
  const path = `/v1/attempts/${attempt}/logs`;
  const range = logLines.parse(await get(`${path}/lines`, { from: '150', count: '3' }));
  expect(range).toMatchObject({ from: 150, total: 300, size: text.length, isOver: false });
  expect(range.lines.map((line) => line.text)).toEqual(['step 150', 'step 151', 'step 152']);
  const [line] = range.lines;
  expect(logLines.parse(await get(`${path}/lines`, { offset: String(line?.offset), count: '1' }))).toMatchObject({
    from: 150,
    lines: [line],
  });
  expect(logMatches.parse(await get(`${path}/search`, { q: 'STEP 29', from: '30' })).matches.map((match) => match.line)).toEqual([
    290, 291, 292, 293, 294, 295, 296, 297, 298, 299,
  ]);
  expect(await get(path, { tail: '12' })).toMatchObject({ text: 'step 300\n', nextOffset: text.length, size: text.length });
});

test('a note and tags are written about a run, found by them, and nobody overwrites a note that changed meanwhile', async () => {
  const id = await submit();
  const annotate = (body: object, role: 'viewer' | 'submitter' | 'admin' = 'submitter') =>
    call(role, 'POST', `/v1/runs/${id}/annotate`, { body });
  expect(await annotate({ addTags: ['baseline'] }, 'viewer')).toMatchObject({ status: 403, json: { code: 'forbidden' } });
  const note = 'warmup fixed\nsecond line';
  expect(await annotate({ note, addTags: ['baseline', 'paper/v2'] })).toMatchObject({ status: 200 });
  const run = await show(id);
  expect(run).toMatchObject({ note: { text: note, by: 'a-submitter' }, noteLine: 'warmup fixed', tags: ['baseline', 'paper/v2'] });
  expect(await listed(id)).toMatchObject({ tags: ['baseline', 'paper/v2'], noteLine: 'warmup fixed' });

  const other = await submit();
  await call('submitter', 'POST', `/v1/runs/${other}/annotate`, { body: { addTags: ['baseline'] } });
  const found = async (query: Record<string, string>) => runPage.parse(await get('/v1/runs', query)).items.map((item) => item.id);
  expect(await found({ tag: 'baseline' })).toEqual([other, id]);
  expect(await found({ q: 'SECOND line' })).toEqual([id]);
  expect(await found({ q: 'paper/v' })).toEqual([id]);

  expect(await annotate({ note: 'mine', ifNote: 'what I read' }, 'admin')).toMatchObject({
    status: 409,
    json: { code: 'wrong_state', details: { note } },
  });
  expect((await show(id)).note?.text).toBe(note);
  expect(await annotate({ note: 'both', ifNote: note, removeTags: ['baseline'] }, 'admin')).toMatchObject({
    json: { note: { text: 'both', by: 'a-admin' }, tags: ['paper/v2'] },
  });
  const tooMany = Array.from({ length: 16 }, (_, index) => `tag${index}`);
  expect(await annotate({ addTags: tooMany })).toMatchObject({ status: 400, json: { detail: expect.stringContaining('would have 17') } });
  const { seq } = await show(id);
  await annotate({ addTags: ['paper/v2'], note: 'both' });
  await annotate({ note: ' ' });
  expect(await show(id)).toMatchObject({ note: null, noteLine: null, seq: seq + 1 });
  const { items } = await get(`/v1/runs/${id}/events`);
  expect(items.at(-2).message).toBe('a-admin changed the note and removed the tag baseline');
});
