import { pathToFileURL } from 'node:url';
import { runOrigin, scheduleRequest, stepVersions, submitRequest, triggerRequest } from '@cairn/contract';
import { createAttempts } from '@cairn/engine';
import { ada, openEngineHarness, smallRecipe } from '@cairn/engine/testing';
import type { Executor, LaunchSpec } from '@cairn/executor';
import { queryScoreReader } from '@cairn/judging';
import { openQueues } from '@cairn/queue';
import { newId } from '@cairn/runtime';
import { openStore } from '@cairn/storage';
import { makeRunFolder, provided, removeRunFolder, startReceiver, waitFor } from '@cairn/testing';
import { afterAll, expect, onTestFinished, test } from 'vitest';
import { installationTokens } from './deliveries/github-app.ts';
import { runLeader } from './leader-loops.ts';
import type { ControllerParts } from './parts.ts';
import { isBoundToMachine, serveQueues } from './serve-queues.ts';
import { reconcileOnce } from './watching.ts';

const harness = await openEngineHarness();
const folder = await makeRunFolder();
afterAll(async () => {
  await harness.close();
  await removeRunFolder(folder);
});
await harness.playAll(await harness.submit());

/** A controller that is not the leader, with one pool whose starts are recorded. */
async function openSpare(executor: 'kubernetes' | 'process', prefix: string) {
  const queues = openQueues({ url: provided('redisUrl'), prefix, log: harness.ctx.log });
  onTestFinished(() => queues.close());
  const started: LaunchSpec[] = [];
  const start: Executor['start'] = async (spec) => {
    started.push(spec);
    return { place: 'a pod', handle: 'pod-1' };
  };
  const store = openStore(pathToFileURL(folder).href);
  const parts: ControllerParts = {
    ctx: harness.ctx,
    databaseUrl: harness.databaseUrl,
    queues,
    store,
    readScores: queryScoreReader(store),
    executors: new Map([['local', { start } as Executor]]),
    pools: [{ name: 'local', executor, slots: 4, attemptSlots: null }],
    agentEnv: {},
    serverKey: 'k'.repeat(32),
    internalUrls: ['http://127.0.0.1:1'],
    publicUrl: null,
    installationTokens: installationTokens(),
    log: harness.ctx.log,
  };
  const end = new AbortController();
  onTestFinished(() => end.abort());
  await serveQueues(parts, end.signal);
  return { queues, started, parts };
}

let variant = 100;
async function createdAttempt() {
  variant += 1;
  const runId = await harness.submit({ set: { 'stages.first.epochs': variant } });
  const { id } = await harness.step(runId, 'first');
  await createAttempts(harness.ctx, harness.lead, runId, id, 'local', 1);
  return harness.prisma.attempt.findFirstOrThrow({ where: { stepId: id } });
}

test('a spare starts pods in a cluster, and finalizes steps', async () => {
  const { queues, started } = await openSpare('kubernetes', newId('run'));
  const { id } = await createdAttempt();
  await queues.add('launch', { attemptId: id, generation: 1 });
  await waitFor(() => started.length === 1, { message: 'the start' });
  await waitFor(async () => (await harness.prisma.attempt.findUniqueOrThrow({ where: { id } })).place === 'a pod', {
    message: 'its place',
  });

  await harness.engine.startAttempt(id, 1, { host: 'pod', pid: 1, instance: 'of the test', version: '1', stepVersions });
  const file = harness.file('checkpoint.pt', id, 'the weights');
  await openStore(pathToFileURL(folder).href).put(file.key, 'the weights');
  await harness.engine.finishAttempt(id, 1, { outcome: 'succeeded', files: [file], details: { step: 3 } });
  const { stepId } = await harness.prisma.attempt.findUniqueOrThrow({ where: { id } });
  await queues.add('finalize', { stepId, generation: 1 });
  const state = async () => (await harness.prisma.step.findUniqueOrThrow({ where: { id: stepId } })).state;
  await waitFor(async () => (await state()) === 'succeeded', { message: 'the result' });

  const judged = await harness.submit({ gate: { gate: 'mAP@100 >= 1 %' } });
  await harness.playAll(judged);
  await queues.add('judge', { runId: judged, generation: 1 });
  // The evaluation was played without scores by query.
  await waitFor(async () => (await harness.run(judged)).gateState === 'refused', { message: 'the end of the gate' });
});

test('a spare leaves starts in a single-machine pool to the leader', async () => {
  const { queues, started } = await openSpare('process', newId('run'));
  const { id } = await createdAttempt();
  await queues.add('launch', { attemptId: id, generation: 1 });
  expect(await queues.counts('launch')).toEqual({ waiting: 1, active: 0 });
  expect(started).toEqual([]);
  expect((await harness.prisma.attempt.findUniqueOrThrow({ where: { id } })).state).toBe('created');
});

test('the leader queues what is due, and any controller sends it', async () => {
  const received: string[] = [];
  const receiver = await startReceiver(({ headers }, response) => {
    received.push(String(headers['webhook-id']));
    response.writeHead(204).end();
  });
  const { parts } = await openSpare('kubernetes', newId('run'));
  await harness.engine.addWebhook({ name: 'chat', url: receiver.url, events: ['run.ended'] }, ada);
  const id = await harness.engine.testWebhook('chat', ada);
  await reconcileOnce({ ...parts, lead: harness.lead, signal: new AbortController().signal });
  const delivery = () => harness.prisma.delivery.findUniqueOrThrow({ where: { id: BigInt(id) } });
  await waitFor(async () => (await delivery()).state === 'delivered', { message: 'the message' });
  expect(received).toEqual([(await delivery()).messageId]);
});

test.each([
  [['kubernetes', 'tasks'], false],
  [['kubernetes', 'docker', 'tasks'], true],
  [['process', 'tasks'], true],
])('pools of %s are bound to a machine: %s', (executors, isBound) => {
  const pools = executors.map((executor) => ({ name: executor, executor, slots: 1, attemptSlots: null }));
  expect(isBoundToMachine({ pools })).toBe(isBound);
});

test("a leader's loops start what is due: the run of a schedule, and that of a delivery whose api died", async () => {
  const { parts } = await openSpare('kubernetes', newId('run'));
  const { prisma, engine, lead } = harness;
  const run = { recipe: smallRecipe, until: ['prepare'], noReuse: true };
  await engine.addSchedule(scheduleRequest.parse({ name: 'nightly', cron: '30 2 * * *', zone: 'Europe/Zurich', run }), ada);
  const yesterday = new Date(Date.now() - 86_400_000);
  await prisma.timer.updateMany({ data: { dueAt: yesterday, notBefore: yesterday } });
  await engine.addTrigger(triggerRequest.parse({ name: 'merged', provider: 'standard', run: { recipe: smallRecipe } }), ada);
  const { id: triggerId } = await prisma.trigger.findFirstOrThrow();
  const delivery = { id: newId('hookDelivery'), triggerId, key: 'one', digest: 'd', event: 'push', subject: 'push to main' };
  const request = submitRequest.parse({ ...run, labels: { by: 'delivery' } }) as object;
  await prisma.hookDelivery.create({
    data: { ...delivery, outcome: 'accepted', reason: '', address: '192.0.2.7', request, notBefore: yesterday },
  });
  const end = new AbortController();
  // Nothing is launched: what the loops start is what counts here.
  const leading = runLeader(
    { ...parts, executors: new Map() },
    { healthySince: () => null, close: async () => undefined },
    lead,
    end.signal,
  );
  onTestFinished(async () => {
    end.abort();
    await leading;
  });
  const started = async () => (await prisma.run.findMany()).map(({ origin }) => runOrigin.parse(origin).kind);
  await waitFor(async () => (await started()).filter((kind) => kind !== 'person').length === 2, { message: 'both runs' });
  // Both are recorded after the run was submitted.
  await waitFor(async () => (await prisma.hookDelivery.findFirst())?.outcome === 'started', { message: 'the delivery' });
  await waitFor(async () => ((await prisma.timer.findFirst())?.dueAt ?? 0) > new Date(), { message: 'the next time' });
});
