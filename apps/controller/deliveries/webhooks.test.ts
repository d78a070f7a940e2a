import { CairnError, type Judgement, webhookMessage } from '@cairn/contract';
import { recordDelivery } from '@cairn/engine';
import { ada, type Harness, openEngineHarness } from '@cairn/engine/testing';
import { newId } from '@cairn/runtime';
import { type Received, startReceiver } from '@cairn/testing';
import { Webhook } from 'standardwebhooks';
import { afterAll, beforeAll, beforeEach, expect, onTestFinished, test } from 'vitest';
import { openSender } from './testing/open-sender.ts';

const hour = 3_600_000;
const judged: Judgement = {
  ...{ gate: 'mAP@100 >= production', by: 'interval', minQueries: 1, verdict: 'passed', reason: 'It is better: 54 % to 50 %.' },
  ...{ queries: 450, value: 0.54, baselineValue: 0.5, difference: 0.04, low: 0.01, high: 0.07, limit: 0 },
  evaluation: { id: newId('artifact'), name: 'small/evaluate' },
  baseline: { model: 'toy', version: 1, evaluationId: newId('artifact') },
  model: null,
  lost: [],
};

let harness: Harness;
/** A run that succeeded. */
let runId: string;
beforeAll(async () => {
  harness = await openEngineHarness();
  runId = await playedRun();
  const model = { projectId: 'default', owner: 'ada', name: 'toy', version: 1, runId, stepId: newId('step'), artifacts: {}, metrics: {} };
  await harness.prisma.model.create({ data: { id: newId('model'), ...model } });
});
afterAll(() => harness.close());
beforeEach(() => harness.prisma.$executeRaw`delete from delivery`);

const allEvents: ('run.ended' | 'gate.judged' | 'alias.moved')[] = ['run.ended', 'gate.judged', 'alias.moved'];

async function addWebhook(url: string, events = allEvents) {
  const name = `hook-${newId('webhook').slice(-8)}`;
  const secret = await harness.engine.addWebhook({ name, url: `${url}/hook`, events }, ada);
  onTestFinished(() => harness.engine.removeWebhook(name, ada));
  const { id } = await harness.prisma.webhook.findUniqueOrThrow({ where: { projectId_name: { projectId: 'default', name } } });
  return { id, name, secret };
}

async function playedRun(): Promise<string> {
  const id = await harness.submit({ until: ['prepare'], noReuse: true });
  await harness.playAll(id);
  return id;
}
const judge = (verdict: Judgement['verdict'] = 'passed') => harness.engine.recordJudgement(runId, { ...judged, verdict }, ada);

const headersOf = ({ headers }: Received): Record<string, string> =>
  Object.fromEntries(Object.entries(headers).flatMap(([name, value]) => (typeof value === 'string' ? [[name, value]] : [])));
/** Verified by the reference library, then by the contract's schema. */
const messageOf = (secret: string, received: Received) =>
  webhookMessage.parse(new Webhook(secret).verify(received.body, headersOf(received)));

test('the end of a run, its verdict and a moved alias arrive signed, those of the run in their order', async () => {
  const receiver = await startReceiver();
  const { secret, name } = await addWebhook(receiver.url);
  runId = await playedRun();
  await judge();
  await harness.engine.setAlias({ model: 'toy', alias: 'production' }, { version: 1, reason: 'it <b>passed</b>' }, ada);
  const sender = openSender(harness);
  await sender.send();
  const messages = receiver.requests.map((received) => messageOf(secret, received));
  const ofRun = messages.filter(({ type }) => type !== 'alias.moved');
  expect(ofRun).toMatchObject([
    {
      type: 'run.ended',
      version: 1,
      data: { run: { id: runId, recipe: 'small', dataset: 'toy@1', owner: 'ada', source: null }, state: 'succeeded' },
    },
    { type: 'gate.judged', data: { run: { id: runId }, verdict: 'passed', baseline: { version: 1 }, judgedBy: 'ada' } },
  ]);
  const moved = { model: 'toy', alias: 'production', fromVersion: null, toVersion: 1, reason: 'it <b>passed</b>', movedBy: 'ada' };
  expect(messages.find(({ type }) => type === 'alias.moved')?.data).toEqual({ ...moved, action: 'set' });
  // For a day after a rotation both secrets verify; the body of a changed message does not.
  const rotated = await harness.engine.rotateWebhook(name, ada);
  await harness.engine.testWebhook(name, ada);
  await sender.send();
  const last = receiver.requests.at(-1) as Received;
  expect(messageOf(secret, last)).toEqual(messageOf(rotated, last));
  expect(() => messageOf(rotated, { ...last, body: last.body.replace(name, 'other') })).toThrow('No matching signature');
  const entries = await harness.prisma.auditEntry.findMany({
    where: { target: name },
    select: { action: true, before: true, after: true },
  });
  expect(entries.map(({ action }) => action)).toEqual(['webhook.add', 'webhook.rotate', 'webhook.test']);
  expect(JSON.stringify(entries)).not.toMatch(/whsec/);
});

test('the end of a run that a newer one of its group superseded says by which', async () => {
  const receiver = await startReceiver();
  const { secret } = await addWebhook(receiver.url, ['run.ended']);
  const submit = () => harness.submit({ until: ['prepare'], noReuse: true, group: 'main', onNewer: 'cancel' });
  const older = await submit();
  const [attempt = ''] = await harness.startAttempts(older, 'prepare');
  const newer = await submit();
  await harness.engine.finishAttempt(attempt, 1, { outcome: 'cancelled', message: 'stopped' });
  await openSender(harness).send();
  expect(receiver.requests.map((received) => messageOf(secret, received).data)).toMatchObject([
    { run: { id: older }, state: 'cancelled', cause: expect.stringMatching(new RegExp(`^superseded by \\S+ \\(${newer}\\)`)) },
  ]);
  await harness.engine.cancelRun(newer, ada, '');
});

test('an outage of the receiver delays no run; what waited then arrives in its order, each message once', async () => {
  const receiver = await startReceiver((_, response) => response.writeHead(503).end());
  await addWebhook(receiver.url, ['gate.judged']);
  const sender = openSender(harness);
  for (const verdict of ['failed', 'inconclusive', 'passed'] as const) await judge(verdict);
  expect(await harness.run(runId)).toMatchObject({ verdict: 'passed' });
  const tries = await sender.pass(48 * hour);
  // Only the oldest was tried, each hour at last: a later verdict must not arrive before it.
  expect(tries).toBeGreaterThan(48);
  expect(tries).toBeLessThan(120);
  expect(new Set(receiver.requests.map(({ headers }) => headers['webhook-id'])).size).toBe(1);
  receiver.requests.length = 0;
  receiver.react = (_, response) => response.writeHead(204).end();
  await sender.pass(2 * hour);
  expect(receiver.requests.map(({ body }) => JSON.parse(body).data.verdict)).toEqual(['failed', 'inconclusive', 'passed']);
  // Signed when it was sent, not when it was written.
  const age = sender.clock().getTime() / 1000 - Number(receiver.requests[0]?.headers['webhook-timestamp']);
  expect(age).toBeLessThan(2 * 3600 + 1);
});

test('a receiver that asks for a pause gets it, and one that stays away is given up after three days and sent again on request', async () => {
  const receiver = await startReceiver((_, response) => response.writeHead(429, { 'retry-after': '1800' }).end());
  const { id, name } = await addWebhook(receiver.url, ['alias.moved']);
  const sender = openSender(harness);
  const move = (alias: string) => harness.engine.setAlias({ model: 'toy', alias }, { version: 1, reason: 'a test' }, ada);
  // Which it did not ask for.
  await judge();
  await move('one');
  await sender.send();
  expect(receiver.requests).toHaveLength(1);
  await move('two');
  // One answer holds back everything for this receiver.
  expect(await sender.pass(1_790_000)).toBe(0);
  expect(await sender.pass(60_000)).toBeGreaterThan(0);
  receiver.react = (_, response) => response.destroy();
  sender.sleep(71 * hour);
  await sender.pass(3 * hour);
  const given = await harness.prisma.delivery.findMany({ where: { target: id } });
  expect(given.map(({ state }) => state)).toEqual(given.map(() => 'failed'));
  expect(given[0]?.answer).toMatchObject({ status: null, message: expect.stringMatching(/; given up after \d+ tries$/) });
  receiver.requests.length = 0;
  receiver.react = (_, response) => response.writeHead(200).end();
  await harness.engine.resendDelivery(name, String(given[0]?.id), ada);
  await sender.pass(1_000);
  expect(receiver.requests.map(({ headers }) => headers['webhook-id'])).toEqual([given[0]?.messageId]);
});

test('of controllers that send the same message one does, and one that was paused too long changes nothing', async () => {
  const receiver = await startReceiver();
  const { id, name } = await addWebhook(receiver.url);
  const sender = openSender(harness);
  await harness.engine.testWebhook(name, ada);
  const [due] = await sender.due();
  if (due === undefined) throw new Error('nothing is due');
  await Promise.all(Array.from({ length: 8 }, () => sender.sendOne(due)));
  expect(receiver.requests).toHaveLength(1);

  await harness.engine.testWebhook(name, ada);
  const [next] = await sender.due();
  const paused = next === undefined ? null : await sender.claim(next);
  if (paused === null) throw new Error('it was not claimed');
  // Killed or stopped after its claim: the lease ends, and another controller sends it.
  expect(await sender.pass(59_000)).toBe(0);
  expect(await sender.pass(2_000)).toBe(1);
  // What cannot be stored is cleaned: otherwise the delivery would be tried for ever.
  const answer = { at: sender.clock().toISOString(), status: 500, message: 'late \0 \ud83d' };
  expect(await recordDelivery(harness.prisma, paused, { end: 'failed', answer }, sender.clock())).toBe(false);
  expect(await harness.prisma.delivery.count({ where: { target: id, state: 'delivered' } })).toBe(2);
});

test('a redirect is not followed, a receiver that is gone ends the tries, and hosts that the setting does not name get nothing', async () => {
  const elsewhere = await startReceiver();
  const receiver = await startReceiver((_, response) => response.writeHead(307, { location: elsewhere.url }).end());
  const { id, name } = await addWebhook(receiver.url);
  const sender = openSender(harness);
  const newest = async () => harness.prisma.delivery.findFirst({ where: { target: id }, orderBy: { id: 'desc' } });
  await harness.engine.testWebhook(name, ada);
  await sender.send();
  expect(elsewhere.requests).toEqual([]);
  expect(await newest()).toMatchObject({
    state: 'pending',
    answer: { status: 307, message: expect.stringContaining('redirects are not followed') },
  });
  receiver.react = (_, response) => response.writeHead(410).end();
  await sender.pass(60_000);
  expect(await newest()).toMatchObject({ state: 'failed', answer: { status: 410 } });

  const seen = receiver.requests.length;
  const limits = { ...harness.ctx.limits, deliveryHosts: ['hooks.example.org', '*.corp.example.org'] };
  await harness.engine.testWebhook(name, ada);
  await openSender({ ...harness, ctx: { ...harness.ctx, limits } }).send();
  expect(receiver.requests).toHaveLength(seen);
  expect((await newest())?.answer).toMatchObject({ message: 'CAIRN_DELIVERY_HOSTS does not name 127.0.0.1' });
});

test('webhooks have names of their own, and an unknown one is named', async () => {
  const receiver = await startReceiver();
  const { name } = await addWebhook(receiver.url);
  const again = harness.engine.addWebhook({ name, url: receiver.url, events: ['run.ended'] }, ada);
  await expect(again).rejects.toEqual(expect.objectContaining({ code: 'name_taken' }));
  await expect(harness.engine.rotateWebhook('nothing', ada)).rejects.toThrow(CairnError);
});
