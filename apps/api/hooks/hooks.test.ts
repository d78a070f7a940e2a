import { randomUUID } from 'node:crypto';
import { removeOldDeliveries, startAcceptedDeliveries } from '@cairn/engine';
import { smallRecipe } from '@cairn/engine/testing';
import { describe, expect, test } from 'vitest';
import { openTestApi } from '../testing/test-api.ts';
import { commit, hooksOf, pull, push, type Trigger } from './testing/test-hooks.ts';

const testApi = await openTestApi();
const { call, prisma, harness } = testApi;
const { addTrigger, deliverSigned, rowsOf } = hooksOf(testApi);

const runsOf = async ({ name }: Trigger) =>
  (await prisma.run.findMany()).filter(({ origin }) => JSON.stringify(origin).includes(`"${name}"`));

describe('a delivery', () => {
  test('starts one run, whose origin, source and group it gives, however often and by however many it is delivered', async () => {
    const trigger = await addTrigger({
      filter: { branches: ['main'], paths: ['recipes/**'] },
      run: { recipe: smallRecipe, dataset: 'toy', labels: { by: 'ci' }, gate: { gate: 'mAP@100 >= 50 %' } },
    });
    const body = push();
    const id = randomUUID();
    const answers = await Promise.all(Array.from({ length: 20 }, () => deliverSigned(trigger, body, { id })));
    expect(new Set(answers.map(({ runId }) => runId)).size).toBe(1);
    expect(answers.filter(({ outcome }) => outcome === 'repeated').length).toBe(19);
    const [first] = answers.filter(({ outcome }) => outcome === 'started');
    expect(first).toMatchObject({ status: 202, reason: 'push to main' });

    const { json: run } = await call('viewer', 'GET', `/v1/runs/${first?.runId}`);
    expect(run).toMatchObject({
      owner: 'a-submitter',
      origin: { kind: 'trigger', trigger: trigger.name, delivery: first?.json.delivery },
      source: { provider: 'github', repository: 'example/landmarks', commit, ref: 'main', pullRequest: null },
      group: `${trigger.name}-main`,
      onNewer: 'cancel',
      labels: { by: 'ci' },
      gate: { gate: 'mAP@100 >= 50 %', state: 'waiting' },
    });
    // The signature covers the body alone: another id does not make it another delivery.
    expect(await deliverSigned(trigger, body, { id: randomUUID() })).toMatchObject({ status: 200, outcome: 'repeated', runId: run.id });
    expect(await runsOf(trigger)).toHaveLength(1);
    expect(await rowsOf(trigger)).toMatchObject([{ outcome: 'started', repeats: 20, request: null }]);

    // A newer push takes its place.
    const newer = await deliverSigned(trigger, push());
    expect(newer).toMatchObject({ status: 202, outcome: 'started' });
    const runsOfGroup = await prisma.run.findMany({ where: { group: `${trigger.name}-main` }, orderBy: { createdAt: 'asc' } });
    expect(runsOfGroup.map(({ id, state, cancelCause }) => [id, state, cancelCause])).toEqual([
      [run.id, 'cancelled', 'superseded'],
      [newer.runId, 'queued', null],
    ]);
  });

  test('that the filter does not take is answered with the reason', async () => {
    const trigger = await addTrigger({ filter: { branches: ['release/**'] } });
    expect(await deliverSigned(trigger, push())).toMatchObject({
      status: 200,
      outcome: 'ignored',
      reason: 'the branch main is not one of release/**',
    });
    expect(await deliverSigned(trigger, '{"zen":"x"}', { event: 'ping' })).toMatchObject({ status: 200, outcome: 'ignored' });
    expect(await deliverSigned(trigger, '{"ref":1}')).toMatchObject({ status: 400, outcome: 'invalid_request' });
    // A name that would lead elsewhere at the code host.
    const elsewhere = push({ repository: { full_name: 'example/../victim/secret' } });
    expect(await deliverSigned(trigger, elsewhere)).toMatchObject({ status: 400, outcome: 'invalid_request' });
    expect(await deliverSigned(trigger, 'not json')).toMatchObject({ status: 400 });
    const { json } = await call('viewer', 'GET', `/v1/triggers/${trigger.name}/deliveries`, { query: { outcome: 'refused' } });
    expect(json.items).toMatchObject([
      { key: null, reason: 'it is not a delivery of GitHub: the body is not a JSON object' },
      { key: null, reason: expect.stringContaining('repository.full_name') },
      { key: null, reason: 'it is not a delivery of GitHub: ref: expected a string, not a number' },
    ]);
  });

  test('of a fork waits for a person, who starts it once', async () => {
    const trigger = await addTrigger({ filter: { events: ['pull_request'] } });
    const hints = await harness.collectHints();
    await deliverSigned(trigger, push(), { event: 'push' });
    const held = await deliverSigned(trigger, pull(true), { event: 'pull_request' });
    // No run changes, but what needs a person does; an ignored delivery changes nothing.
    await expect.poll(() => hints, { timeout: 45_000 }).toEqual([{ topic: 'runs', what: 'run' }]);
    expect(held).toMatchObject({ status: 202, outcome: 'held', runId: null });
    const waiting = async () =>
      (await call('viewer', 'GET', '/v1/attention')).json.items.filter((item: { id: string }) => item.id === held.json.delivery);
    expect(await waiting()).toMatchObject([
      {
        kind: 'held-delivery',
        sentence: expect.stringMatching(
          /^The trigger \S+ holds a delivery: .*; it is from a fork, so it waits until a person releases it\.$/,
        ),
        delivery: { trigger: trigger.name, source: { pullRequest: 7 } },
      },
    ]);
    const path = `/v1/triggers/${trigger.name}/deliveries/${held.json.delivery}/release`;
    expect((await call('viewer', 'POST', path)).status).toBe(403);
    const answers = await Promise.all([1, 2, 3].map(() => call('submitter', 'POST', path)));
    expect(answers.map(({ status }) => status).toSorted()).toEqual([200, 409, 409]);
    expect(await runsOf(trigger)).toMatchObject([{ source: { pullRequest: 7 }, group: `${trigger.name}-pr-7` }]);
    expect(await rowsOf(trigger)).toMatchObject([{ outcome: 'ignored' }, { outcome: 'started', releasedBy: 'a-submitter' }]);
    expect(await waiting()).toEqual([]);
    expect(await prisma.auditEntry.findMany({ where: { action: 'delivery.release' } })).toMatchObject([{ target: held.json.delivery }]);
    expect(await deliverSigned(trigger, pull(false), { event: 'pull_request' })).toMatchObject({ outcome: 'started' });
  });

  test('that is older than one that started a run starts none: released late, or arriving late', async () => {
    const trigger = await addTrigger({ filter: { events: ['pull_request', 'push'] } });
    const pulls = (number: number, second: number) =>
      deliverSigned(trigger, pull(number === 8, { number, updatedAt: `2026-01-01T00:00:0${second}Z` }), { event: 'pull_request' });
    const release = async (held: { json: { delivery: string } }) =>
      (await call('submitter', 'POST', `/v1/triggers/${trigger.name}/deliveries/${held.json.delivery}/release`)).json;
    // A fork: the newer commit was released first.
    const [first, second] = [await pulls(8, 1), await pulls(8, 2)];
    const run = await release(second);
    expect(run).toMatchObject({ outcome: 'started' });
    expect(await release(first)).toMatchObject({
      outcome: 'ignored',
      runId: null,
      reason: `released by a-submitter; started nothing, because the newer commit ${commit.slice(0, 12)} was delivered already (${second.json.delivery})`,
    });
    expect(await prisma.run.findUnique({ where: { id: run.runId } })).toMatchObject({ state: 'queued', cancelCause: null });
    // An older one that was released first is replaced, as any.
    const [third, fourth] = [await pulls(8, 3), await pulls(8, 4)];
    expect((await release(third)).outcome).toBe('started');
    const last = await release(fourth);
    // Other pull requests and branches have histories of their own.
    expect(await pulls(9, 0)).toMatchObject({ outcome: 'started' });

    // Pushes whose deliveries change places, and arrive at the same time: the newest is what runs.
    const made = (step: number) =>
      push({
        before: String(step - 1).repeat(40),
        after: String(step).repeat(40),
        head_commit: { id: String(step).repeat(40) },
        repository: { full_name: 'example/landmarks', pushed_at: 1_796_000_000 + step },
      });
    const answers = await Promise.all([3, 1, 5, 2, 4].map((step) => deliverSigned(trigger, made(step))));
    expect(answers[2]?.outcome).toBe('started');
    expect(await deliverSigned(trigger, made(4))).toMatchObject({ status: 200, outcome: 'ignored' });
    const live = (await runsOf(trigger)).filter(({ state }) => state === 'queued');
    expect(live.map(({ group, id }) => [group?.slice(trigger.name.length + 1), id]).toSorted()).toEqual([
      ['main', answers[2]?.runId],
      ['pr-8', last.runId],
      ['pr-9', expect.any(String)],
    ]);
  });

  test('is started by the leader when its program died after it was accepted, and once', async () => {
    const trigger = await addTrigger();
    const first = await deliverSigned(trigger, push());
    // As if the program had died before it recorded the run, and before it submitted it.
    const data = { outcome: 'accepted', runId: null, notBefore: new Date(0) };
    const run = await prisma.run.findUniqueOrThrow({ where: { id: first.runId ?? '' } });
    const submission = { recipe: smallRecipe, dataset: 'toy', source: run.source, group: run.group, onNewer: 'cancel' };
    await prisma.hookDelivery.update({ where: { id: first.json.delivery }, data: { ...data, request: submission as object } });
    await Promise.all([1, 2, 3].map(() => startAcceptedDeliveries(harness.ctx, AbortSignal.timeout(30_000))));
    expect(await rowsOf(trigger)).toMatchObject([{ outcome: 'started', runId: first.runId }]);
    expect(await runsOf(trigger)).toHaveLength(1);
  });

  test('whose run is refused for now is tried again, and one whose run can never start fails, until it is delivered again', async () => {
    await prisma.dataset.create({
      data: {
        id: 'dst_01k00000000000000000000000',
        projectId: 'default',
        owner: 'ada',
        name: 'passing',
        version: 1,
        source: {},
        digest: 'a',
        digestBasis: 'test',
      },
    });
    const trigger = await addTrigger({ run: { recipe: smallRecipe, dataset: 'passing' } });
    await prisma.dataset.delete({ where: { id: 'dst_01k00000000000000000000000' } });
    const body = push();
    expect(await deliverSigned(trigger, body)).toMatchObject({
      status: 202,
      outcome: 'failed',
      reason: expect.stringContaining('dataset passing not found'),
    });
    const { limits } = harness.ctx;
    const most = limits.ownerRuns;
    limits.ownerRuns = 1;
    try {
      await prisma.trigger.update({ where: { name: trigger.name }, data: { run: { recipe: smallRecipe, dataset: 'toy' } as object } });
      const other = await deliverSigned(trigger, push());
      expect(other).toMatchObject({ status: 202, outcome: 'accepted', reason: expect.stringContaining('CAIRN_OWNER_RUNS') });
      limits.ownerRuns = most;
      await prisma.hookDelivery.update({ where: { id: other.json.delivery }, data: { notBefore: new Date(0) } });
      await startAcceptedDeliveries(harness.ctx, AbortSignal.timeout(30_000));
      expect(await rowsOf(trigger)).toMatchObject([{ outcome: 'failed' }, { outcome: 'started', tries: 1 }]);
    } finally {
      limits.ownerRuns = most;
    }
    expect((await deliverSigned(trigger, body)).reason).toContain('was failed: the run could not be started');
    expect((await rowsOf(trigger))[0]).toMatchObject({ outcome: 'failed', repeats: 1 });
  });

  test('is kept for a week, and of refused ones the newest', async () => {
    const trigger = await addTrigger();
    const { id: triggerId } = await prisma.trigger.findUniqueOrThrow({ where: { name: trigger.name } });
    const row = { triggerId, digest: 'd', event: 'push', subject: '', reason: '', address: '::1' };
    const refused = Array.from({ length: 4 }, (_, index) => ({
      ...row,
      id: `r${10_000 + index}`,
      key: `r${index}`,
      outcome: 'refused',
    }));
    const old = new Date(Date.now() - 8 * 86_400_000);
    await prisma.hookDelivery.createMany({
      data: [
        ...refused,
        { ...row, id: 'old', key: 'old', outcome: 'ignored', receivedAt: old },
        { ...row, id: 'new', key: 'new', outcome: 'ignored' },
      ],
    });
    await removeOldDeliveries(harness.ctx, { keptRefusals: 2 });
    const left = (await rowsOf(trigger)).map(({ id }) => id);
    expect(left).toHaveLength(3);
    expect(left).toEqual(expect.arrayContaining(['new', 'r10002', 'r10003']));
  });
});
