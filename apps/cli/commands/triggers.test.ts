import { aRun, type StubApi, sendProblem, startStubApi } from '@cairn/client/testing';
import { type DeliveryView, type RunView, triggerRequest } from '@cairn/contract';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { runTestCli } from '../testing/test-cli.ts';

const secret = `whsec_${'A'.repeat(43)}=`;
const at = '2026-11-30T12:00:00.000Z';
const delivery = 'hdl_01kaz4q7t9w1y3a5c7e9g1j3km';
const runId = 'run_01kaz4q7t9w1y3a5c7e9g1j3km';

const viewOf = (name: string, request: object) => ({
  ...request,
  ...{ id: 'trg_01kaz4q7t9w1y3a5c7e9g1j3km', name, owner: 'ada', path: `/v1/hooks/${name}`, createdAt: at, lastDeliveryAt: null },
});

let api: StubApi;
let run: Partial<RunView> = {};
beforeAll(async () => {
  api = await startStubApi();
  api.on('POST', '/v1/triggers', ({ body }) => {
    const request = triggerRequest.parse(JSON.parse(body));
    return { ...viewOf(request.name, request), secret };
  });
  const item: DeliveryView = {
    ...{ id: delivery, key: 'one', event: 'pull_request', subject: 'pull request 7 was opened', source: null, outcome: 'held' },
    ...{ reason: 'it is from a fork', runId: null, receivedAt: at, repeats: 2, releasedBy: null },
  };
  api.on('GET', '/v1/triggers/landmark/deliveries', () => ({ items: [item], nextCursor: null }));
  api.on('POST', '/v1/runs', (_, response) =>
    sendProblem(response, 'not_found', 'Model mini has no alias production', { remedy: 'Add it.' }),
  );
  api.on('GET', `/v1/runs/${runId}`, () => ({ ...aRun(), ...run, name: 'mini-1' }));
  api.on('POST', `/v1/triggers/landmark/deliveries/${delivery}/release`, () => ({ delivery, outcome: 'started', reason: '', runId }));
});
afterAll(() => api.close());

test('trigger add prints only the secret on stdout, and sends what the options say', async () => {
  const add = ['trigger', 'add', 'landmark', '--provider', 'github', '--recipe', 'mini'];
  const options = ['--event', 'push', '--event', 'tag', '--branch', 'main', '--path', '**', '--label', 'team=search', '--no-group'];
  const { code, out, err } = await runTestCli([...add, ...options, '--set', 'stages.384.epochs=2'], { url: api.url });
  expect([code, out]).toEqual([0, `${secret}\n`]);
  expect(err).toContain(`Deliveries go to ${api.url}/v1/hooks/landmark`);
  expect(JSON.parse(api.requests.at(-1)?.body ?? '')).toEqual({
    name: 'landmark',
    provider: 'github',
    run: { recipe: 'mini', set: { 'stages.384.epochs': 2 }, labels: { team: 'search' } },
    filter: { events: ['push', 'tag'], branches: ['main'], tags: [], paths: ['**'], labels: [] },
    group: null,
  });
  const warned = await runTestCli([...add, '--gate', 'mAP@100 >= production', '--promote', 'production'], { url: api.url });
  expect([warned.code, warned.out]).toEqual([0, `${secret}\n`]);
  expect(warned.err).toContain('Model mini has no alias production. Add it. The gate of a run that is judged before it exists is refused.');
  await runTestCli(add, { url: api.url });
  expect(triggerRequest.parse(JSON.parse(api.requests.at(-1)?.body ?? ''))).toMatchObject({
    group: '{trigger}-{subject}',
    onNewer: 'cancel',
  });
  expect((await runTestCli(add.slice(0, -2), { url: api.url })).err).toContain('Give either --recipe NAME or --file RECIPE.yaml');
});

test('a trigger is shown with the gate and the labels of its runs, and a rotation says for how long the earlier secret is accepted', async () => {
  const gate = { gate: 'mAP@100 >= production', by: 'mean', onInconclusive: 'pass', promote: { alias: 'production' } };
  const request = triggerRequest.parse({ name: 'landmark', provider: 'github', run: { recipe: 'mini', labels: { team: 'search' }, gate } });
  api.on('GET', '/v1/triggers/landmark', () => viewOf('landmark', request));
  const { out } = await runTestCli(['trigger', 'show', 'landmark'], { url: api.url });
  expect(out).toMatch(/labels +team=search\n/);
  expect(out).toMatch(/gate +mAP@100 >= production; by the mean; an inconclusive one counts as passed; a passed one moves production\n/);
  api.on('POST', '/v1/triggers/landmark/rotate', () => ({ ...viewOf('landmark', request), secret }));
  const rotate = (hours: string) => runTestCli(['trigger', 'rotate', 'landmark', '--keep-hours', hours], { url: api.url });
  expect((await rotate('1')).err).toContain('the earlier one is accepted for 1 hour.');
  expect((await rotate('0')).err).toContain('the earlier one is no longer accepted.');
});

test('deliveries are listed with what became of them, and released', async () => {
  const { out } = await runTestCli(['trigger', 'deliveries', 'landmark', '--outcome', 'held'], { url: api.url });
  expect(api.requests.at(-1)?.query.get('outcome')).toBe('held');
  expect(out).toMatch(new RegExp(`held +2 +it is from a fork +${delivery}`));
  const release = async () => (await runTestCli(['trigger', 'release', 'landmark', delivery], { url: api.url })).out;
  expect(await release()).toBe('Run mini-1 started.\n');
  run = { state: 'held', cause: 'the budget owner:ada: 2 of 2 GPU-hours of this month are used' };
  expect(await release()).toBe('Run mini-1 is held: the budget owner:ada: 2 of 2 GPU-hours of this month are used.\n');
});
