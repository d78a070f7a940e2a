import { pathToFileURL } from 'node:url';
import { CairnError, type RunGate, scheduleRequest, triggerRequest } from '@cairn/contract';
import { getRun, listJudgements } from '@cairn/db';
import { judgementsDue } from '@cairn/engine';
import { ada, openEngineHarness, playedDetails, smallRecipe } from '@cairn/engine/testing';
import { queryScoreReader, type ReadQueryScores } from '@cairn/judging';
import { storeEvaluation } from '@cairn/judging/testing';
import { sha256 } from '@cairn/runtime';
import { openStore } from '@cairn/storage';
import { makeRunFolder, removeRunFolder } from '@cairn/testing';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { judgeRun } from './serve-queues.ts';

const harness = await openEngineHarness();
const { prisma, ctx, engine } = harness;
const root = await makeRunFolder();
const store = openStore(pathToFileURL(root).href);
afterAll(async () => {
  await harness.close();
  await removeRunFolder(root);
});

const count = 60;
const scoresOf = (shift: number) => Array.from({ length: count }, (_, at) => 0.2 + at / (2 * count) + shift);
const production = { model: 'toy', alias: 'production' };
const gated = (over: Partial<RunGate> = {}) => ({ gate: 'mAP@100 >= production - 0.2 points', promote: { alias: 'production' }, ...over });

/** A run up to its end, whose model is better or worse than that of the first by `shift`. */
async function succeeded(shift: number, { gate, gallery }: { gate?: ReturnType<typeof gated>; gallery?: 'b' } = {}) {
  const runId = await harness.submit({ noReuse: ['evaluate'], ...(gate && { gate }) });
  await toEnd(runId, shift, gallery);
  return runId;
}

async function toEnd(runId: string, shift: number, gallery: 'a' | 'b' | 'c' = 'a') {
  for (let names = await harness.ready(runId); names.length > 0; names = await harness.ready(runId)) {
    for (const name of names) {
      if (name === 'register') await storeEvaluation({ prisma, store }, { runId, scores: scoresOf(shift), gallery });
      await harness.play(runId, name);
    }
  }
}

const readScores = queryScoreReader(store);
const judge = async (runId: string, generation: number, read: ReadQueryScores = readScores) =>
  judgeRun({ ctx, readScores: read }, runId, generation, AbortSignal.timeout(20_000));
const gateOf = async (runId: string) => (await getRun(prisma, { projectId: 'default', runId })).gate;
const versionsMoved = async () =>
  (await prisma.aliasMove.findMany({ where: { model: 'toy', alias: 'production' }, orderBy: { id: 'asc' } })).map((move) => move.toVersion);

beforeAll(async () => {
  await harness.playAll(await harness.submit({ until: ['evaluate'] }));
  await succeeded(0);
  await engine.setAlias(production, { version: 1, reason: 'the first' }, ada);
});

test('a run that succeeded is judged once, however many controllers do it, and its alias moves with the verdict', async () => {
  const runId = await succeeded(0.05, { gate: gated() });
  expect(await gateOf(runId)).toMatchObject({ state: 'judging', judgement: null });
  expect(await judgementsDue(ctx)).toEqual([{ runId, generation: 1 }]);
  expect(await prisma.outbox.findFirst({ where: { queue: 'judge', row: runId } })).toMatchObject({ generation: 1 });
  await Promise.all([judge(runId, 1), judge(runId, 1)]);
  await judge(runId, 1);
  expect(await gateOf(runId)).toMatchObject({
    state: 'judged',
    judgement: {
      ...{ verdict: 'passed', judgedBy: 'ada', model: { model: 'toy', version: 2 }, baseline: { version: 1 } },
      promotion: { outcome: 'moved', reason: 'toy@production now names version 2 instead of 1.' },
    },
  });
  expect(await listJudgements(prisma, { projectId: 'default', runId })).toHaveLength(1);
  expect((await harness.run(runId)).verdict).toBe('passed');
  expect(await versionsMoved()).toEqual([1, 2]);
  expect(await prisma.event.findMany({ where: { runId, type: 'gate' } })).toMatchObject([
    { data: { verdict: 'passed', alias: 'production' } },
  ]);
  const audited = await prisma.auditEntry.findMany({ where: { address: 'controller' }, orderBy: { id: 'asc' } });
  expect(audited.map(({ action, tokenId }) => [action, tokenId])).toEqual([
    ['alias.set', ada.tokenId],
    ['run.judge', ada.tokenId],
  ]);
  expect(await judgementsDue(ctx)).toEqual([]);
});

test('a run whose steps are all reused is judged too', async () => {
  const runId = await harness.submit({ until: ['evaluate'], gate: { gate: 'mAP@100 >= 10 %' } });
  expect((await harness.run(runId)).state).toBe('succeeded');
  expect(await gateOf(runId)).toMatchObject({ state: 'judging' });
  expect(await judgementsDue(ctx)).toEqual([{ runId, generation: 1 }]);
  await prisma.run.update({ where: { id: runId }, data: { gateState: 'refused' } });
});

test('an alias that moved while its run was judged is kept, and one stays where the gate did not pass', async () => {
  const overtaken = await succeeded(0.06, { gate: gated() });
  const moving: ReadQueryScores = async (found) => {
    await engine.setAlias(production, { version: 1, reason: 'by hand' }, ada);
    return readScores(found);
  };
  // The baseline is pinned before its scores, the second, are read.
  const read = [readScores, moving].values();
  await judge(overtaken, 1, (found) => (read.next().value ?? readScores)(found));
  expect((await gateOf(overtaken))?.judgement).toMatchObject({
    ...{ verdict: 'passed', baseline: { version: 2 } },
    promotion: { outcome: 'kept', reason: expect.stringContaining('names version 1, but the model was compared with version 2') },
  });
  const worse = await succeeded(-0.05, { gate: gated() });
  await judge(worse, 1);
  expect((await gateOf(worse))?.judgement).toMatchObject({ verdict: 'failed', promotion: null });
  expect(await versionsMoved()).toEqual([1, 2, 1]);
});

test('an alias is kept where the retention policy has removed what it would name', async () => {
  const runId = await succeeded(0.05, { gate: gated() });
  await prisma.model.updateMany({ where: { runId }, data: { removedAt: new Date() } });
  const moved = await versionsMoved();
  await judge(runId, 1);
  expect((await gateOf(runId))?.judgement).toMatchObject({
    verdict: 'passed',
    promotion: { outcome: 'kept', reason: expect.stringMatching(/^toy@production was kept: the artifacts of version \d+ were removed/) },
  });
  expect(await versionsMoved()).toEqual(moved);
});

test('a judgement of what a retry replaced is dropped, and the new result is judged', async () => {
  const runId = await succeeded(0.05, { gate: gated({ promote: null }) });
  const retrying: ReadQueryScores = async (found) => {
    const scores = await readScores(found);
    await engine.retryRun(runId, ada, 'evaluate');
    expect(await gateOf(runId)).toMatchObject({ state: 'waiting' });
    await toEnd(runId, -0.05);
    return scores;
  };
  const read = [retrying].values();
  await judge(runId, 1, (found) => (read.next().value ?? readScores)(found));
  expect(await gateOf(runId)).toMatchObject({ state: 'judging' });
  expect(await prisma.judgement.count({ where: { runId } })).toBe(0);
  await judge(runId, 2);
  expect(await gateOf(runId)).toMatchObject({ state: 'judged', judgement: { verdict: 'failed', promotion: null } });
});

test('scores that cannot be read are waited for, and a comparison that makes no sense is refused with the reason', async () => {
  const runId = await succeeded(0.05, { gate: gated() });
  const away = () => Promise.reject(new CairnError('storage_failed', 'the bucket does not answer'));
  await judge(runId, 1, away);
  await judge(runId, 1, away);
  expect(await gateOf(runId)).toMatchObject({ state: 'judging', problem: 'the bucket does not answer' });
  expect(await prisma.event.count({ where: { runId, message: { contains: 'cannot be judged yet' } } })).toBe(1);
  expect(await judgementsDue(ctx)).toEqual([]);
  await judge(runId, 1);
  expect(await gateOf(runId)).toMatchObject({ state: 'judged', problem: null });

  const elsewhere = await succeeded(0.05, { gate: gated(), gallery: 'b' });
  await judge(elsewhere, 1);
  expect(await gateOf(elsewhere)).toMatchObject({
    state: 'refused',
    problem: expect.stringMatching(/galler.*: --evaluate-baseline does it\.$/),
    judgement: null,
  });
  expect(await prisma.event.findMany({ where: { runId: elsewhere, type: 'gate' } })).toMatchObject([{ data: { verdict: 'none' } }]);
  expect((await harness.run(elsewhere)).verdict).toBe('none');
});

/** A run on other images, whose lists name another index. */
async function onOtherImages(seed: number, gallery: 'b' | 'c' = 'b'): Promise<string> {
  const set = { 'prepare.testSeed': seed, 'stages.second.seed': seed };
  const runId = await harness.submit({ set, gate: gated({ evaluateBaseline: true, promote: null }) });
  const [attempt = ''] = await harness.startAttempts(runId, 'prepare');
  const { lists, ...others } = playedDetails.prepare;
  const index = { rows: 9, distinct: 9, classes: null, sha256: sha256(`other images ${seed}`) };
  const details = { ...others, lists: { ...(lists as object), index } };
  await engine.finishAttempt(attempt, 1, { outcome: 'succeeded', files: [harness.file('lists.bin', attempt, `lists ${seed}`)], details });
  await harness.finalize(runId, 'prepare');
  await toEnd(runId, 0.05, gallery);
  return runId;
}

test('a baseline of other images is evaluated on those of the run first, when the gate asks for it, and compared then', async () => {
  const version = (await versionsMoved()).at(-1);
  const runId = await onOtherImages(801);
  await judge(runId, 1);
  await judge(runId, 1);
  const waiting = await gateOf(runId);
  expect(waiting).toMatchObject({ state: 'judging', judgement: null });
  const baselines = () => prisma.run.findMany({ where: { origin: { path: ['kind'], equals: 'gate' } }, orderBy: { id: 'asc' } });
  const [run, ...others] = await baselines();
  expect(others).toEqual([]);
  const { name } = await harness.run(runId);
  expect(run).toMatchObject({ owner: 'ada', gate: null, origin: { kind: 'gate', run: name, model: 'toy', version } });
  expect(waiting?.problem).toBe(`toy@${version} is evaluated on the same data first, by ${run?.name}`);
  const steps = await prisma.step.findMany({ where: { runId: run?.id ?? '' }, orderBy: { position: 'asc' } });
  expect(steps.map((step) => [step.name, step.state])).toEqual([
    ['prepare', 'reused'],
    ['baseline-extract_index', 'ready'],
    ['baseline-extract_query', 'reused'],
    ['baseline-search', 'blocked'],
    ['baseline-evaluate', 'blocked'],
  ]);
  await harness.playAll(run?.id ?? '');
  await storeEvaluation({ prisma, store }, { runId: run?.id ?? '', scores: scoresOf(0), gallery: 'b' });
  await judge(runId, 1);
  const { artifactId } = await harness.step(run?.id ?? '', 'baseline-evaluate');
  expect(await gateOf(runId)).toMatchObject({
    ...{ state: 'judged', problem: null },
    judgement: { verdict: 'passed', baseline: { model: 'toy', version, evaluationId: artifactId } },
  });
  // It is found by the next gate.
  const next = await onOtherImages(802);
  await judge(next, 1);
  expect(await gateOf(next)).toMatchObject({ state: 'judged', judgement: { baseline: { evaluationId: artifactId } } });
  expect(await baselines()).toHaveLength(1);
  // Without such a run's evaluation there is nothing to compare with.
  const second = await onOtherImages(803, 'c');
  await judge(second, 1);
  const [, cancelled] = await baselines();
  await engine.cancelRun(cancelled?.id ?? '', ada, 'too dear');
  await judge(second, 1);
  const problem = expect.stringMatching(
    /^toy@\d+ was to be evaluated on the same data by \S+, which was cancelled \(by ada: too dear\)\. Retry that run with /,
  );
  expect(await gateOf(second)).toMatchObject({ state: 'refused', problem });
});

test('a gate that could not be judged is refused when it is submitted', async () => {
  const refusals: [object, string][] = [
    [{ gate: gated({ gate: 'mAP > 3' }) }, 'cannot be read'],
    [{ gate: gated({ gate: 'mAP@100 >= toy@prod' }) }, 'Model toy has no alias prod'],
    [{ gate: gated({ gate: 'mAP@100 >= prod', promote: null }) }, 'Model toy has no alias prod'],
    [{ gate: gated({ gate: 'mAP@100 >= toy@99' }) }, 'No model toy@99'],
    [{ gate: gated(), until: ['export'] }, 'A gate judges an evaluation, and the run has none'],
    [{ gate: gated(), until: ['evaluate'] }, 'An alias names a registered model, and the run registers none'],
    [{ gate: gated({ promote: null }), until: ['evaluate'] }, 'so the gate has to name one'],
  ];
  for (const [change, message] of refusals) await expect(harness.submit(change)).rejects.toThrow(message);
});

test('what starts later may name an alias that is set later', async () => {
  const run = { recipe: smallRecipe, gate: gated({ gate: 'mAP@100 >= later', promote: null }) };
  await engine.addTrigger(triggerRequest.parse({ name: 'merged', provider: 'standard', run }), ada);
  await engine.addSchedule(scheduleRequest.parse({ name: 'nightly', cron: '30 2 * * *', run }), ada);
  const { runId } = await engine.runSchedule('nightly', ada, null);
  expect(await gateOf(runId)).toMatchObject({ state: 'waiting', gate: 'mAP@100 >= later' });
});
