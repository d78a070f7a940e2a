import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { webhookEvent } from '@cairn/contract';
import { getRun, getSchedule } from '@cairn/db';
import { answerJson, waitFor } from '@cairn/testing';
import { beforeAll, describe, expect, test } from 'vitest';
import { stringify } from 'yaml';
import { booksOf } from './books.ts';
import type { Change } from './kill-inside.ts';
import { commitOf, hostToken, openWeek, pullRequest, push } from './open-week.ts';

// A week of retraining by CI, on a real api and a real controller that are killed again and again. Machines that play the attempts stand in for
// GPUs, and a local server for the code host. The days follow each other; the last one looks at what all of them left.

const week = await openWeek();
const { harness, prisma, client, github, receiver, recipe, playRun, playUntil, killed, addImages, deliver, reported, cairn } = week;
const { host } = github;
const gate = 'mAP@100 >= production - 0.2 points';

/** Scores of 60 queries, with a difference for each. */
const scores = (difference: (query: number) => number) => ({
  scores: Array.from({ length: 60 }, (_, query) => 0.2 + query / 120 + difference(query)),
});
const asGood = scores(() => 0);
const better = scores(() => 0.03);
const best = scores(() => 0.06);
const worse = scores((query) => (query === 7 ? -0.2 : -0.02));
/** As many queries gain as lose. */
const unclear = scores((query) => (query % 2 === 0 ? 0.15 : -0.1));

type Trigger = Awaited<ReturnType<typeof client.addTrigger>>;
let [merged, reviewed]: Trigger[] = [];

const view = (runId: string) => getRun(prisma, { projectId: 'default', runId });
const production = async () => (await client.listAliases('toy')).items.find(({ alias }) => alias === 'production')?.version;
const statusesOf = (word: string) => host.statuses.filter(({ commit }) => commit === commitOf(word));
const commentOn = (number: number) => host.comments.filter((comment) => comment.pullRequest === number).map(({ body }) => body);
/** The run that a delivery started. */
async function startedBy(trigger: Trigger | undefined, event: Parameters<typeof deliver>[1]): Promise<string> {
  const answer = await deliver(trigger as Trigger, event);
  expect(answer).toMatchObject({ outcome: 'started', runId: expect.any(String) });
  return answer?.runId ?? '';
}

beforeAll(async () => {
  await client.addCodeHost({ name: 'hub', provider: 'github', url: github.url, repositories: ['org/*'], token: hostToken });
  await client.addWebhook({ name: 'chat', url: `${receiver.url}/hook`, events: webhookEvent.options });
  const run = { recipe, dataset: 'toy', labels: { team: 'search' } };
  merged = await client.addTrigger({
    name: 'merged',
    provider: 'github',
    run: { ...run, gate: { gate, promote: { alias: 'production' } } },
  });
  const filter = { events: ['pull_request'] };
  reviewed = await client.addTrigger({ name: 'reviewed', provider: 'github', run: { ...run, gate: { gate } }, filter });
  const first = await client.submitRun({ recipe, dataset: 'toy' });
  await playRun(first.id, asGood);
  await client.setAlias('toy', 'production', { version: 1, reason: 'the first one in use' });
}, 400_000);

const inController: Change[] = [
  { name: 'lets a task start', table: 'attempt', on: 'insert', when: `new.pool = 'tasks'` },
  {
    name: 'stores a stage',
    table: 'step',
    on: 'update',
    when: `new.kind = 'train' and new.state = 'succeeded' and old.state <> 'succeeded'`,
  },
  { name: 'ends the run', table: 'run', on: 'update', when: `new.state = 'succeeded' and old.state <> 'succeeded'` },
  { name: 'moves the alias', table: 'alias_move', on: 'insert', when: 'true' },
  { name: 'stores the judgement', table: 'judgement', on: 'insert', when: 'true' },
  {
    name: 'begins to send a status',
    table: 'delivery',
    on: 'update',
    when: `new.event = 'status' and new.attempts > old.attempts and old.attempts > 0`,
  },
  {
    name: 'records that a status was sent',
    table: 'delivery',
    on: 'update',
    when: `new.event = 'status' and new.state = 'delivered' and old.attempts > 2`,
  },
];

describe('a week of retraining', () => {
  test('Monday: a push that is delivered again and again, to an api that dies, trains one better model, which is promoted', async () => {
    await addImages();
    const event = push('monday');
    const submits: Change = { name: 'submits the run', table: 'run', on: 'insert', when: `new.origin->>'kind' = 'trigger'` };
    let unanswered: unknown;
    await killed('api', [submits], async () => {
      unanswered = await deliver(merged as Trigger, event);
    });
    expect(unanswered).toBeNull();
    // A person presses "Redeliver" several times.
    const repeats = await Promise.all([1, 2, 3].map(() => deliver(merged as Trigger, event)));
    expect(new Set(repeats.map((answer) => answer?.outcome))).toEqual(new Set(['repeated']));
    const started = async () => {
      await week.passPauses();
      return prisma.run.findFirst({ where: { origin: { path: ['trigger'], equals: 'merged' } } });
    };
    const { id } = await waitFor(started, { timeoutMs: 240_000, message: 'the leader to start what the api left' });

    await killed('controller', inController, async () => {
      await playRun(id, better);
      await reported();
    });
    expect(await view(id)).toMatchObject({
      state: 'succeeded',
      verdict: 'passed',
      gate: { judgement: { promotion: { outcome: 'moved' } } },
    });
    expect(await production()).toBe(2);
    expect(statusesOf('monday').at(-1)).toMatchObject({ state: 'success', context: 'cairn/merged' });
    expect(await deliver(merged as Trigger, event)).toMatchObject({ outcome: 'repeated', runId: id });
  }, 900_000);

  test('Tuesday: a forced push ends the older run, takes over what it had, and the worse model fails the pull request, which says why', async () => {
    await addImages();
    const opened = pullRequest(7, 'tuesday', { action: 'opened' });
    const older = await startedBy(reviewed, opened);
    const attempt = await playUntil(older, 'second', worse);
    const key = `staging/${attempt.id}/checkpoint.pt`;
    const checkpoint = { type: 'checkpoint', key, bytes: 9, sha256: 'a'.repeat(64), step: 4, epoch: 0.5, final: false } as const;
    await harness.engine.report(attempt.id, attempt.generation, { seq: 1, at: new Date().toISOString(), items: [checkpoint] });

    const newer = await startedBy(reviewed, pullRequest(7, 'tuesday, amended', { action: 'synchronize' }));
    expect(await view(newer)).toMatchObject({ state: 'held', hold: 'group' });
    await playRun(older, worse);
    expect(await view(older)).toMatchObject({ state: 'cancelled', cancelCause: 'superseded' });
    const next = await playUntil(newer, 'second', worse);
    expect(await harness.engine.attemptSpec(next.id, next.generation, 1)).toMatchObject({ resume: [{ key, sha256: checkpoint.sha256 }] });
    await playRun(newer, worse);
    await reported();

    const { steps, stepViews, gate: judged } = await view(newer);
    expect(steps.reused).toBe(2);
    expect(stepViews.filter(({ state }) => state === 'reused').map(({ name }) => name)).toEqual(['prepare', 'first']);
    expect(judged?.judgement?.verdict).toBe('failed');
    expect(await production()).toBe(2);
    expect(statusesOf('tuesday').at(-1)).toMatchObject({ state: 'error' });
    expect(statusesOf('tuesday, amended').at(-1)).toMatchObject({
      state: 'failure',
      description: expect.stringMatching(/its gate failed$/),
    });
    const [comment = '', ...others] = commentOn(7);
    expect(others).toEqual([]);
    expect(comment).toContain(': gate failed\n');
    expect(comment).toContain('mAP@100 is 42.28 %, -5.30 points from the 47.58 % of toy@2 (production)');
    const table =
      /Queries that lost most:[\s\S]*\| \[`q007`\]\(<https:\/\/cairn\.example\.org\/evaluation\?[^>]+&query=q007>\) \| 28\.8 % \| 5\.8 % \|/;
    expect(comment).toMatch(table);
    // The first push again, late: it is known, and changes nothing.
    expect(await deliver(reviewed as Trigger, opened)).toMatchObject({ outcome: 'repeated', runId: older });
  }, 400_000);

  test('Wednesday: a pull request of a fork waits for a person; what cannot be told from chance is not let through', async () => {
    await addImages();
    const held = await deliver(reviewed as Trigger, pullRequest(8, 'wednesday', { action: 'opened', fork: true }));
    expect(held).toMatchObject({ outcome: 'held', runId: null });
    expect(statusesOf('wednesday')).toEqual([]);
    const released = await client.releaseDelivery('reviewed', held?.delivery ?? '');
    const runId = released.runId ?? '';
    const sent: Change = {
      name: 'records that a comment was written',
      table: 'delivery',
      on: 'update',
      when: `new.event = 'comment' and new.state = 'delivered'`,
    };
    await killed('controller', [sent], async () => {
      await playRun(runId, unclear);
      await reported();
    });
    expect(await view(runId)).toMatchObject({ verdict: 'inconclusive' });
    expect(await production()).toBe(2);
    expect(statusesOf('wednesday').at(-1)).toMatchObject({
      state: 'failure',
      description: expect.stringMatching(/its gate is inconclusive$/),
    });
    expect(commentOn(8)).toEqual([expect.stringContaining(': gate inconclusive\n')]);
  }, 400_000);

  test('Thursday: the clock changes, and a schedule runs once each night, whenever its leader dies', async () => {
    const run = { recipe, dataset: 'toy', until: ['prepare'] };
    await client.addSchedule({ name: 'nightly', cron: '30 2 * * *', zone: 'Europe/Zurich', run });
    const submits: Change = { name: 'submits the run', table: 'run', on: 'insert', when: `new.origin->>'kind' = 'schedule'` };
    const advances: Change = { name: 'sets the next time', table: 'timer', on: 'update', when: 'new.due_at > old.due_at' };
    const dueTimes = async () =>
      (await prisma.run.findMany({ where: { group: 'nightly' }, orderBy: { id: 'asc' } })).map(({ origin }) =>
        String((origin as { dueAt?: string }).dueAt).slice(0, 16),
      );
    const served = (time: string) =>
      waitFor(async () => (await getSchedule(prisma, { projectId: 'default', name: 'nightly' })).last?.due.startsWith(time), {
        timeoutMs: 240_000,
        message: `the run of ${time}`,
      });
    // The night before: the newest of many that were missed.
    await week.setClock('2027-03-27T12:00:00Z');
    await served('2027-03-27T01:30');
    // 2:30 does not exist: at 3:00 it is due.
    await killed('controller', [submits, advances], async () => {
      await week.setClock('2027-03-28T01:00:30Z');
      await served('2027-03-28T01:00');
    });
    await week.setClock('2027-03-29T00:31:00Z');
    await served('2027-03-29T00:30');
    // 2:30 comes twice: it is due the first time.
    await week.setClock('2027-10-31T00:31:00Z');
    await served('2027-10-31T00:30');
    await week.setClock('2027-10-31T01:31:00Z');
    await week.restartController();
    await week.setClock('2027-11-01T01:31:00Z');
    await served('2027-11-01T01:30');
    expect(await dueTimes()).toEqual(['2027-03-27T01:30', '2027-03-28T01:00', '2027-03-29T00:30', '2027-10-31T00:30', '2027-11-01T01:30']);
    await client.removeSchedule('nightly');
    await week.setClock(null);
    await week.restartController();
  }, 400_000);

  test('Friday: the code host is away, the build of a worse model fails all the same, and later shows its end; a better one is rolled back', async () => {
    await addImages();
    host.fault = ({ method }, response) => {
      // Some requests are answered by a proxy, others not at all.
      if (method === 'GET') answerJson(response, 502, { message: 'Bad gateway' });
      else response.destroy();
      return true;
    };
    const file = join(week.folder, 'recipe.yaml');
    await writeFile(file, stringify({ ...recipe, dataset: 'toy' }));
    const comment = join(week.folder, 'comment.md');
    const build = async (word: string, played: typeof worse) => {
      const env = { GITHUB_ACTIONS: 'true', GITHUB_REPOSITORY: 'org/landmarks', GITHUB_SHA: commitOf(word), GITHUB_REF_NAME: 'main' };
      const how = ['--idempotency-key', word, '--wait', '--gate', gate, '--promote', 'production', '--comment-file', comment];
      const job = cairn(['submit', '-f', file, ...how], { ...env, GITHUB_SERVER_URL: 'https://code.example.org' });
      const find = () => prisma.run.findFirst({ where: { idempotencyKey: word }, select: { id: true } });
      const { id } = await waitFor(find, { timeoutMs: 240_000, message: `the run of ${word}` });
      await playRun(id, played);
      return { ...(await job), id };
    };
    const failed = await build('friday', worse);
    expect(failed).toMatchObject({ code: 4 });
    expect(await readFile(comment, 'utf8')).toMatch(/: gate failed\n[\s\S]*Queries that lost most/);
    expect(statusesOf('friday')).toEqual([]);
    host.fault = null;
    await reported();
    expect(statusesOf('friday')).toMatchObject([{ state: 'failure', context: 'cairn/run/small' }]);

    await addImages();
    expect(await build('friday, better', best)).toMatchObject({ code: 0 });
    const promoted = await production();
    expect(promoted).toBeGreaterThan(2);
    expect(await cairn(['alias', 'rollback', 'toy@production', '--reason', 'worse on rare landmarks'])).toMatchObject({ code: 0 });
    expect(await production()).toBe(2);
    await reported();
  }, 400_000);

  test('Saturday: a budget is used up, so pushes wait until an admin releases the newest', async () => {
    const scope = 'label:team=search';
    const [budget] = (await client.setBudget(scope, { gpuHours: 1000, per: 'total', warnPercent: 80 })).items;
    expect(budget?.usedHours).toBeGreaterThan(0);
    await client.setBudget(scope, { gpuHours: (budget?.usedHours ?? 0) / 2, per: 'total', warnPercent: 80 });
    await addImages();
    const older = await startedBy(merged, push('saturday'));
    const newer = await startedBy(merged, push('saturday, later'));
    for (const runId of [older, newer]) expect(await view(runId)).toMatchObject({ state: 'held', hold: 'budget' });
    // A leader looks at the budgets as soon as it leads.
    await week.restartController();
    const told = () => receiver.requests.filter(({ body }) => body.includes('"budget.reached"')).map(({ body }) => JSON.parse(body).data);
    await waitFor(() => told().length > 0, { timeoutMs: 240_000, message: 'the message about the budget' });
    expect(told()[0]).toMatchObject({ scope, state: 'spent' });
    await reported();
    expect(statusesOf('saturday, later').at(-1)).toMatchObject({ state: 'pending', description: expect.stringContaining(' is held') });
    await client.releaseRun(newer);
    await playRun(newer, better);
    await client.cancelRun(older, { reason: 'a newer push was trained' });
    await reported();
    expect(await view(newer)).toMatchObject({ state: 'succeeded', verdict: 'passed' });
    expect(statusesOf('saturday').at(-1)).toMatchObject({ state: 'error' });
  }, 400_000);

  test('Sunday: the books are balanced: nothing ran twice, nothing was lost, the code host shows each end, and the ledger adds up', async () => {
    await reported();
    expect(await booksOf(week)).toEqual([]);
    const history = (await prisma.aliasMove.findMany({ orderBy: { id: 'asc' } })).map(({ action }) => action);
    expect(history.filter((action) => action === 'rollback')).toHaveLength(1);
    expect((await prisma.auditEntry.findMany({ where: { action: { in: ['delivery.release', 'run.release'] } } })).length).toBe(2);
  }, 400_000);
});
