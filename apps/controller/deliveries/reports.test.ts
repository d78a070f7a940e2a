import { generateKeyPairSync } from 'node:crypto';
import type { RunGateView, RunSource } from '@cairn/contract';
import { getCodeHost } from '@cairn/db';
import { recordDelivery } from '@cairn/engine';
import { ada, type Harness, openEngineHarness } from '@cairn/engine/testing';
import { newId } from '@cairn/runtime';
import { answerJson, type Fault, startGitHub, startGitLab } from '@cairn/testing';
import { afterAll, beforeAll, beforeEach, expect, onTestFinished, test } from 'vitest';
import { statusOf } from './send-report.ts';
import { openSender } from './testing/open-sender.ts';

const [token, minute] = ['a-token-of-a-bot', 60_000];

let harness: Harness;
beforeAll(async () => {
  harness = await openEngineHarness();
});
afterAll(() => harness.close());
beforeEach(async () => {
  await harness.prisma.$executeRaw`delete from delivery`;
});

async function addHost(provider: 'github' | 'gitlab', url: string, repositories: string[]): Promise<string> {
  const name = `host-${newId('codeHost').slice(-8)}`;
  await harness.engine.addCodeHost({ name, provider, url, repositories, token }, ada);
  onTestFinished(() => harness.engine.removeCodeHost(name, ada));
  return name;
}

let pushes = 0;
/** A run of a pull request; each is the first of its number unless one is given. */
async function submitFor(change: Partial<RunSource> = {}): Promise<{ runId: string; source: RunSource }> {
  pushes += 1;
  const source: RunSource = {
    ...{ provider: 'github', repository: 'org/landmarks', commit: pushes.toString(16).padStart(40, '0'), ref: 'wider' },
    ...{ pullRequest: pushes, url: 'https://code.example.org/org/landmarks/pull/7' },
    ...change,
  };
  return { runId: await harness.submit({ source, noReuse: true, until: ['second'] }), source };
}

async function openGitHub() {
  const github = await startGitHub(token);
  const name = await addHost('github', github.url, ['ORG/*']);
  return { ...github, name, sender: openSender(harness, 'https://cairn.example.org') };
}

const textsOf = ({ host }: { host: { comments: { body: string }[] } }) => host.comments.map(({ body }) => body);

test('a run sets a commit status and writes one comment, which follows its steps once a minute and says how it ended', async () => {
  const { host, sender, writes } = await openGitHub();
  const { runId, source } = await submitFor();
  await sender.send();
  const { name } = await harness.run(runId);
  const page = `https://cairn.example.org/runs/${runId}`;
  expect(host.statuses).toEqual([
    { commit: source.commit, state: 'pending', context: 'cairn/run/small', description: `${name} is queued, 3 steps`, target_url: page },
  ]);
  expect(textsOf({ host })[0]).toMatch(new RegExp(`^<!-- cairn [0-9a-f-]{36} run%2Fsmall -->\n### \\[${name}\\]\\(${page}\\): queued\n`));
  const commentWrites = () => writes().filter((write) => write.includes('comments'));
  const written = commentWrites().length;
  await harness.play(runId, 'prepare');
  await harness.play(runId, 'first');
  const { notBefore } = await harness.prisma.delivery.findFirstOrThrow({ where: { event: 'comment' } });
  expect(notBefore.getTime()).toBeGreaterThan(sender.clock().getTime() + minute - 5_000);
  await sender.passUntil(new Date(notBefore.getTime() - 1));
  expect(commentWrites()).toHaveLength(written);
  await sender.pass(10_000);
  expect(commentWrites().slice(written)).toEqual([`PATCH /repos/org/landmarks/issues/comments/${host.comments[0]?.id}`]);
  expect(textsOf({ host })[0]).toMatch(/2 of 3 steps done, 0 of 3 steps reused[\s\S]*\| first \| train \| succeeded \|/);

  await harness.playAll(runId);
  await sender.pass(2 * minute);
  expect(host.statuses.map(({ state, description }) => ({ state, description }))).toEqual([
    { state: 'pending', description: `${name} is queued, 3 steps` },
    { state: 'pending', description: `${name} is running, 3 steps` },
    { state: 'success', description: `${name} succeeded` },
  ]);
  expect(textsOf({ host })).toEqual([expect.stringContaining(': succeeded\n')]);
  // The verdict reaches the commit at once, and the same comment.
  const evaluation = { id: newId('artifact'), name: 'small/evaluate' };
  const numbers = { queries: 450, value: 0.54, baselineValue: 0.55, difference: -0.01, low: -0.02, high: -0.005, limit: 0 };
  const reason = 'mAP@100 is 54 %, <script> worse than toy@1 (95 %: -2.0 to -0.5 points).';
  const judged = { gate: 'mAP@100 >= production', by: 'interval', minQueries: 1, verdict: 'failed', reason, ...numbers } as const;
  await harness.engine.recordJudgement(
    runId,
    {
      ...{ ...judged, evaluation, model: null, lost: [{ queryId: 'q|`1', a: 0.9, b: 0 }] },
      baseline: { model: 'toy', version: 1, evaluationId: evaluation.id },
    },
    ada,
  );
  await sender.send();
  expect(host.statuses.at(-1)).toMatchObject({ state: 'failure', description: `${name} succeeded, its gate failed` });
  await sender.pass(minute);
  expect(textsOf({ host })).toEqual([
    expect.stringMatching(
      /: gate failed\n[\s\S]*&lt;script&gt; worse than toy@1 \(95 %: -2\.0 to -0\.5 points\)[\s\S]*\| \[`` q\\\|`1 ``\]\(<https:\/\/cairn\.example\.org\/evaluation\?of=art_\w+&against=art_\w+&query=q%7C%601>\) \|/,
    ),
  ]);
});

test('a comment whose answer was lost is found again, and a deleted one is written again', async () => {
  const { host, sender, writes } = await openGitHub();
  const lose: Fault = ({ method, path }, response, act) => {
    if (method !== 'POST' || !path.endsWith('/comments')) return false;
    act();
    response.destroy();
    return true;
  };
  host.fault = lose;
  const { runId } = await submitFor();
  await sender.send();
  expect(host.comments).toHaveLength(1);
  host.fault = null;
  await sender.pass(minute);
  expect(host.comments).toHaveLength(1);
  expect(writes().filter((write) => write.endsWith('/comments'))).toHaveLength(1);

  host.comments.splice(0);
  await harness.engine.cancelRun(runId, ada, 'not needed');
  await sender.pass(2 * minute);
  expect(textsOf({ host })).toEqual([expect.stringMatching(/: cancelled\n\ncancelled by ada: not needed|: cancelled\n/)]);
});

test('controllers that send the same report write one comment; copies of its marker by others stay, its own second one goes', async () => {
  const { host, sender, add } = await openGitHub();
  const { runId, source } = await submitFor();
  const { uid } = await harness.prisma.project.findUniqueOrThrow({ where: { id: 'default' } });
  const pullRequest = source.pullRequest ?? 0;
  // Pages of talk, with a forged report among them.
  for (let index = 0; index < 430; index += 1) add({ pullRequest, body: `remark ${index}`, user: { id: 1, type: 'User' } });
  add({ pullRequest, body: `<!-- cairn ${uid} run%2Fsmall -->\nall is well`, user: { id: 666, type: 'User' } });
  const due = await sender.due();
  await Promise.all([...due, ...due, ...due].map(sender.sendOne));
  const own = () => host.comments.filter(({ user }) => user.id === 7);
  expect(own()).toHaveLength(1);
  // What a controller wrote that was stopped in the middle and outlived its lease.
  add({ pullRequest, body: own()[0]?.body ?? '', user: { id: 7, type: 'User' } });
  await harness.prisma.delivery.updateMany({ where: { event: 'comment' }, data: { failures: 1, state: 'pending' } });
  await harness.engine.cancelRun(runId, ada, '');
  await sender.pass(2 * minute);
  expect(own().map(({ body }) => body)).toEqual([expect.stringContaining(': cancelled\n')]);
  expect(host.comments.some(({ body }) => body.endsWith('all is well'))).toBe(true);
});

test('an outage of hours, errors and rate limits delay reports and nothing else; then only the newest state is sent', async () => {
  const { host, sender, requests, name } = await openGitHub();
  host.fault = (_, response) => {
    answerJson(response, 502, { message: 'Bad gateway' });
    return true;
  };
  const { runId } = await submitFor();
  await sender.pass(6 * 60 * minute);
  expect(requests.length).toBeLessThan(60);
  await harness.engine.cancelRun(runId, ada, 'a newer one');
  expect(await harness.run(runId)).toMatchObject({ state: 'cancelled' });
  // A limit, as GitHub reports it: everything for this host waits until then.
  const reset = Math.ceil(sender.clock().getTime() / 1000) + 5_400;
  host.fault = (_, response) => {
    const headers = { 'x-ratelimit-remaining': '0', 'x-ratelimit-reset': String(reset) };
    answerJson(response, 403, { message: 'API rate limit exceeded' }, headers);
    return true;
  };
  await sender.pass(60 * minute);
  const limited = requests.length;
  host.fault = null;
  const left = reset * 1000 - sender.clock().getTime();
  await sender.pass(left - 1_000);
  expect(requests).toHaveLength(limited);
  await sender.pass(5_000);
  expect(host.statuses.map(({ state }) => state)).toEqual(['error']);
  expect(textsOf({ host })).toEqual([expect.stringContaining(': cancelled\n')]);
  // A wrong token is said to the admin, and a new one is used at once.
  await harness.engine.replaceCodeHostToken(name, { token: 'another-token' }, ada);
  await submitFor();
  await sender.send();
  const failed = await harness.prisma.delivery.findFirst({ where: { state: 'pending', event: 'status' } });
  expect(failed?.answer).toMatchObject({
    status: 401,
    message: 'set the commit status: HTTP 401, Bad credentials, the token is not valid',
  });
  await harness.engine.replaceCodeHostToken(name, { token }, ada);
  await sender.pass(0);
  expect(host.statuses.at(-1)).toMatchObject({ state: 'pending' });
});

test('a refusal is of the state that was sent: what the run became meanwhile is sent too', async () => {
  const { host, sender } = await openGitHub();
  const { runId } = await submitFor({ pullRequest: null });
  const [due] = await sender.due();
  const claimed = due === undefined ? null : await sender.claim(due);
  if (claimed === null) throw new Error('nothing is due');
  await harness.engine.cancelRun(runId, ada, 'not needed');
  const answer = { at: sender.clock().toISOString(), status: 422, message: 'the description is too long' };
  expect(await recordDelivery(harness.prisma, claimed, { end: 'failed', answer }, sender.clock())).toBe(true);
  await sender.pass(0);
  expect(host.statuses).toMatchObject([{ state: 'error' }]);
});

test('a newer push takes over the comment of its pull request, and what an older run does later is not shown', async () => {
  const { host, sender } = await openGitHub();
  const older = await submitFor();
  await sender.send();
  const newer = await submitFor({ pullRequest: older.source.pullRequest });
  await sender.pass(minute);
  await harness.engine.cancelRun(older.runId, ada, 'superseded');
  await sender.pass(2 * minute);
  const { name } = await harness.run(newer.runId);
  expect(textsOf({ host })).toEqual([expect.stringContaining(`[${name}]`)]);
  expect(textsOf({ host })[0]).toMatch(/: (queued|running)\n/);
  // Each commit has its own status.
  expect(host.statuses.filter(({ commit }) => commit === older.source.commit).at(-1)).toMatchObject({ state: 'error' });
});

test('a GitHub App reports with tokens of its installation, knows its own comments, and makes a new token when one is refused or ends', async () => {
  const github = await startGitHub(token);
  const { publicKey, privateKey } = generateKeyPairSync('rsa', {
    ...{ modulusLength: 2048, publicKeyEncoding: { type: 'spki', format: 'pem' }, privateKeyEncoding: { type: 'pkcs8', format: 'pem' } },
  });
  github.host.app = { id: '12', publicKey, token: 'ghs_one' };
  const name = `host-${newId('codeHost').slice(-8)}`;
  const request = { name, provider: 'github' as const, url: github.url, repositories: ['org/*'], app: { id: '12', privateKey } };
  await harness.engine.addCodeHost(request, ada);
  onTestFinished(() => harness.engine.removeCodeHost(name, ada));
  const sender = openSender(harness);
  const { runId, source } = await submitFor();
  const { uid } = await harness.prisma.project.findUniqueOrThrow({ where: { id: 'default' } });
  // Another program's, which repeats what people write.
  const body = `<!-- cairn ${uid} run%2Fsmall -->\nall is well`;
  github.add({ pullRequest: source.pullRequest ?? 0, body, user: { id: 5, type: 'Bot', login: 'echo[bot]' } });
  await sender.send();
  const tokens = () => github.requests.filter(({ path }) => path.endsWith('/access_tokens')).length;
  expect(github.host.statuses).toMatchObject([{ state: 'pending' }]);
  expect(github.host.comments.map(({ user }) => user.login)).toEqual(['echo[bot]', 'cairn-reports[bot]']);
  expect(github.host.comments[0]?.body).toBe(body);
  expect(tokens()).toBe(1);

  // Revoked: the try after the one that is refused has a new one.
  github.host.app.token = 'ghs_two';
  await harness.engine.cancelRun(runId, ada, 'not needed');
  await sender.pass(5 * minute);
  expect(github.host.statuses.at(-1)).toMatchObject({ state: 'error' });
  expect(textsOf(github)[1]).toContain(': cancelled\n');
  expect(tokens()).toBe(2);
  sender.sleep(56 * minute);
  await submitFor();
  await sender.send();
  expect(tokens()).toBe(3);
  const shown = await getCodeHost(harness.prisma, { projectId: 'default', name });
  expect(shown.appId).toBe('12');
  expect(
    JSON.stringify([shown, await harness.prisma.auditEntry.findMany({ select: { before: true, after: true, details: true } })]),
  ).not.toContain('PRIVATE KEY');

  await expect(harness.engine.replaceCodeHostToken(name, { token }, ada)).rejects.toThrow('as the GitHub App 12');
  const elliptic = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
  await expect(harness.engine.replaceCodeHostToken(name, { privateKey: elliptic }, ada)).rejects.toThrow('of the type ec, not rsa');
});

test('a repository in which the token may not write delays no other; a limit that names no time pauses all for a minute', async () => {
  const { host, sender, requests } = await openGitHub();
  const answer =
    (message: string): Fault =>
    (received, response) => {
      if (!received.path.startsWith('/repos/org/locked/')) return false;
      answerJson(response, 403, { message });
      return true;
    };
  host.fault = answer('Resource not accessible by personal access token');
  await submitFor({ repository: 'org/locked', pullRequest: null });
  await sender.send();
  await submitFor({ pullRequest: null });
  expect(await sender.send()).toBe(1);
  expect(host.statuses).toHaveLength(1);
  host.fault = answer('You have exceeded a secondary rate limit');
  const answered = async () =>
    (await harness.prisma.delivery.findFirstOrThrow({ where: { state: 'pending' }, orderBy: { id: 'asc' } })).answer;
  expect(await answered()).toMatchObject({ message: expect.stringMatching(/HTTP 403, Resource .*, the token may lack a permission$/) });
  await sender.pass(minute);
  expect(await answered()).toMatchObject({ message: expect.stringMatching(/HTTP 403, .* secondary rate limit, it limits calls$/) });
  const limited = requests.length;
  await submitFor({ pullRequest: null });
  expect(await sender.send()).toBe(0);
  expect(requests).toHaveLength(limited);
});

test('GitLab gets the same, and a state that it already has is not a failure', async () => {
  const gitlab = await startGitLab(token);
  await addHost('gitlab', gitlab.url, ['group/sub/landmarks']);
  const sender = openSender(harness);
  const source = { provider: 'gitlab', repository: 'group/sub/landmarks' } as const;
  const lose: Fault = ({ method, path }, response, act) => {
    if (method !== 'POST' || !path.includes('/statuses/')) return false;
    act();
    response.destroy();
    return true;
  };
  gitlab.host.fault = lose;
  const { runId } = await submitFor(source);
  await sender.send();
  gitlab.host.fault = null;
  await sender.pass(minute);
  expect(await harness.prisma.delivery.findFirst({ where: { event: 'status' } })).toMatchObject({ state: 'delivered', failures: 0 });
  await harness.engine.cancelRun(runId, ada, '');
  await sender.pass(2 * minute);
  expect(gitlab.host.statuses.map(({ state, context }) => `${context} ${state}`)).toEqual([
    'cairn/run/small running',
    'cairn/run/small failed',
  ]);
  expect(textsOf(gitlab)).toEqual([expect.stringContaining(': cancelled\n')]);
  expect((await harness.prisma.delivery.findMany()).map(({ state }) => state)).toEqual(['delivered', 'delivered']);
  // Neither a repository that no code host has, nor a run without a commit, is reported.
  await submitFor({ ...source, repository: 'group/other' });
  await harness.submit({ until: ['prepare'] });
  expect(await sender.send()).toBe(0);
});

test('only a gate that passed makes a commit green; the limit of statuses is kept for how runs end', async () => {
  const run = { name: 'r', cause: null, steps: { total: 3, done: 3, reused: 1 }, gate: null };
  const succeeded = (verdict: 'passed' | 'failed' | 'inconclusive' | 'none') => statusOf({ ...run, state: 'succeeded', verdict }).state;
  expect(['passed', 'none', 'inconclusive', 'failed'].map((verdict) => succeeded(verdict as 'passed'))).toEqual([
    ...['success', 'success', 'failure', 'failure'],
  ]);
  const gate = (change: Partial<RunGateView>): RunGateView => ({
    ...{ gate: 'mAP@100 >= 50 %', by: 'interval', minQueries: 1, onInconclusive: null, promote: null, evaluateBaseline: false },
    ...{ state: 'judged', problem: null, judgement: null },
    ...change,
  });
  const withGate = (change: Partial<RunGateView>, verdict: 'inconclusive' | 'none') =>
    statusOf({ ...run, state: 'succeeded', verdict, gate: gate(change) }).state;
  expect(withGate({ state: 'judging' }, 'none')).toBe('pending');
  expect(withGate({ state: 'refused', problem: 'another gallery' }, 'none')).toBe('error');
  expect(withGate({ onInconclusive: 'pass' }, 'inconclusive')).toBe('success');
  expect(statusOf({ ...run, state: 'failed', verdict: 'none', cause: 'first failed' })).toEqual({
    state: 'error',
    description: 'r failed: first failed',
  });

  const { host, sender } = await openGitHub();
  const { runId } = await submitFor({ pullRequest: null });
  await harness.prisma.delivery.updateMany({ data: { remote: { sent: '', posted: 900 } } });
  await sender.send();
  expect(host.statuses).toEqual([]);
  await harness.engine.cancelRun(runId, ada, '');
  await sender.send();
  expect(host.statuses).toMatchObject([{ state: 'error' }]);
});
