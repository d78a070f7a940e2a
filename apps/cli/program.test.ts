import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { anAttempt, aRun, aStep, idFor, type StubApi, sendProblem, startStubApi } from '@cairn/client/testing';
import { problem, type RunState, runListItem } from '@cairn/contract';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { runTestCli, type TestCliOptions } from './testing/test-cli.ts';

let api: StubApi;
beforeEach(async () => {
  api = await startStubApi();
  api.on('POST', '/v1/runs', () => aRun());
  api.on('GET', '/v1/runs/[^/]+', () => aRun());
  api.on('GET', '/v1/events', (_, response) => response.writeHead(200, { 'content-type': 'text/event-stream' }).flushHeaders());
});
afterEach(() => api.close());

const cairn = (args: string, options: TestCliOptions = {}) => runTestCli(args.split(' ').filter(Boolean), { url: api.url, ...options });
const bodyOf = (index: number): unknown => JSON.parse(api.requests[index]?.body ?? 'null');
const summary = runListItem.parse(aRun());

describe('submit', () => {
  test('sends what the options say', async () => {
    const { code, out } = await cairn(
      'submit --recipe mini --set stages.384.epochs=2 -s model.embeddingDim=64 --dataset mini@2 --name nightly --priority -5 --no-reuse=384,export --idempotency-key k1',
    );
    expect(code).toBe(0);
    expect(bodyOf(0)).toEqual({
      recipe: 'mini',
      dataset: 'mini@2',
      name: 'nightly',
      priority: -5,
      set: { 'stages.384.epochs': 2, 'model.embeddingDim': 64 },
      noReuse: ['384', 'export'],
    });
    expect(api.requests[0]?.headers).toMatchObject({ 'idempotency-key': 'k1', authorization: 'Bearer secret' });
    expect(out).toContain(`mini-1 submitted: 1 step of mini on mini@1  ${idFor('run', 1)}`);
  });

  test('names the labels, the group and, in a job of CI, its commit', async () => {
    const env = { GITLAB_CI: 'true', CI_PROJECT_PATH: 'team/landmarks', CI_COMMIT_SHA: 'a'.repeat(40), CI_COMMIT_REF_NAME: 'main' };
    await cairn('submit -r mini --label team=search --label tier= --group landmark --on-newer cancel', { env });
    const source = { provider: 'gitlab', repository: 'team/landmarks', commit: 'a'.repeat(40), ref: 'main', pullRequest: null, url: null };
    expect(bodyOf(0)).toEqual({ recipe: 'mini', source, labels: { team: 'search', tier: '' }, group: 'landmark', onNewer: 'cancel' });
    const labelled = () => ({
      ...aRun(),
      source: { ...source, url: 'https://code.example.com/1' },
      labels: { team: 'search' },
      group: 'landmark',
    });
    api.on('GET', '/v1/runs', () => ({ items: [runListItem.parse(labelled())], nextCursor: null, total: 1 }));
    api.on('GET', '/v1/runs/[^/]+', labelled);
    const { out } = await cairn('show mini-1');
    for (const text of ['aaaaaaaaaaaa of team/landmarks, main', 'https://code.example.com/1', 'team=search', 'landmark (a newer run waits'])
      expect(out).toContain(text);
    await cairn('runs --label team=search --label tier=night');
    expect(api.requests.at(-1)?.query.getAll('label')).toEqual(['team=search', 'tier=night']);
    expect((await cairn('submit -r mini --label team')).code).toBe(2);
  });

  test('says of a run that is held what it waits for', async () => {
    const cause = 'the budget owner:ada: 5 of 4 GPU-hours of this month are used';
    api.on('POST', '/v1/runs', () => aRun({ state: 'held', cause }));
    expect((await cairn('submit -r mini')).err).toContain(`It is held: ${cause}.\n`);
    api.on('POST', '/v1/runs', () => aRun({ state: 'held', now: 'waiting for mini-0, which runs in the concurrency group g' }));
    expect((await cairn('submit -r mini')).err).toContain('It is held: waiting for mini-0, which runs in');
  });

  test('adds a schedule with what it runs, and shows when it runs next', async () => {
    const at = '2027-01-04T02:00:00.000Z';
    const view = {
      ...{
        id: `sch_${'0'.repeat(26)}`,
        name: 'weekly',
        owner: 'ada',
        cron: '0 3 * * 1',
        zone: 'Europe/Zurich',
        onDataset: null,
        overlap: 'skip',
      },
      ...{ run: { recipe: 'mini', dataset: 'mini@2', gate: { gate: 'mAP@100 >= 55 %', minQueries: 9 } }, createdAt: at, pausedAt: null },
      next: [at],
      last: { at, outcome: 'refused', due: at, runId: null, code: 'quota_exceeded', message: 'ada has 2 live runs' },
    };
    api.on('POST', '/v1/schedules', () => view);
    const args = ['schedule', 'add', 'weekly', '--cron', '0 3 * * 1', '--zone', 'Europe/Zurich', '--overlap', 'skip', '-r', 'mini'];
    const { code, out } = await runTestCli([...args, '-s', 'stages.384.epochs=2', '--label', 'tier=night'], { url: api.url });
    expect(code).toBe(0);
    const run = { recipe: 'mini', set: { 'stages.384.epochs': 2 }, labels: { tier: 'night' } };
    expect(bodyOf(0)).toEqual({ name: 'weekly', cron: '0 3 * * 1', zone: 'Europe/Zurich', overlap: 'skip', run });
    for (const text of [
      '0 3 * * 1 (Europe/Zurich)',
      'Mon 2027-01-04 03:00 Europe/Zurich',
      'refused (quota_exceeded)',
      'due Mon 2027-01-04 03:00 Europe/Zurich: ada has 2 live runs',
      'mini on mini@2',
      'mAP@100 >= 55 %; with at least 9 queries',
    ])
      expect(out).toContain(text);
    expect((await cairn('schedule add weekly -r mini')).err).toContain('--cron');
  });

  test('leaves out options that were not given; --no-reuse alone means every step', async () => {
    await cairn('submit -r mini');
    await cairn('submit -r mini --no-reuse');
    expect(bodyOf(0)).toEqual({ recipe: 'mini' });
    expect(bodyOf(1)).toEqual({ recipe: 'mini', noReuse: true });
  });

  test('sends a whole recipe from a file', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'cli-'));
    const path = join(folder, 'mine.yaml');
    const stage = 'from: init, list: clean, imageSize: 48, epochs: 1, learningRate: 0.1, batch: 8, ranks: 2';
    const yaml = `name: mine\nmodel: {backbone: resnet18}\nstages: {first: {${stage}}}\nexport: {stage: first, imageSize: 48}
extract: {index: {list: index}, query: {list: query}}\nregister: {model: mine}\n`;
    try {
      await writeFile(path, yaml);
      expect((await cairn(`submit -f ${path}`)).code).toBe(0);
      expect(bodyOf(0)).toMatchObject({ recipe: { name: 'mine', stages: { first: { epochs: 1 } } } });
      await writeFile(path, yaml.replace('epochs: 1', 'epoch: 1'));
      const { code, err } = await cairn(`submit -f ${path}`);
      expect(code).toBe(2);
      expect(err).toMatch(
        /^error: .*mine\.yaml:3:\d+: stages\.first has no setting "epoch"; did you mean "epochs"\?\n2 \|.*\n3 \|.*\n.*\^\^\^\^\^\nhint: /,
      );
      expect(api.requests).toHaveLength(1);
    } finally {
      await rm(folder, { recursive: true });
    }
  });

  test('refuses a missing recipe and two recipes before anything is sent', async () => {
    expect(await cairn('submit')).toMatchObject({
      code: 2,
      err: expect.stringContaining('error: no recipe is given\nhint: Use either -f FILE or --recipe NAME'),
    });
    expect((await cairn('submit -f a.yaml --recipe mini')).code).toBe(2);
    expect((await cairn('submit -r mini --set epochs')).err).toContain('--set epochs is not an assignment');
    expect((await cairn('submit -r mini --priority 1.5')).err).toContain('It must be a whole number from -100 to 100.');
    for (const option of ['--by mean', '--min-queries 5', '--on-inconclusive pass', '--evaluate-baseline', '--promote production'])
      expect((await cairn(`submit -r mini --wait ${option}`)).err).toContain(`error: ${option.split(' ')[0]} needs --gate`);
    expect(api.requests).toHaveLength(0);
  });

  test("shows the server's problem with the name that was meant", async () => {
    api.on('POST', '/v1/runs', (_, response) => sendProblem(response, 'unknown_recipe', 'recipe "minni" not found; did you mean "mini"?'));
    expect(await cairn('submit -r minni')).toEqual({
      code: 2,
      out: '',
      err: 'error: recipe "minni" not found; did you mean "mini"?\nhint: Use the suggested name, or list the recipes with `cairn recipes` or GET /v1/recipes.\n',
    });
  });

  test.each<[RunState, 'none' | 'failed', number]>([
    ['succeeded', 'none', 0],
    ['failed', 'none', 1],
    ['cancelled', 'none', 3],
    ['succeeded', 'failed', 4],
  ])('--wait of a run that ends as %s with verdict %s exits with its code', async (state, verdict, expected) => {
    api.on('GET', '/v1/runs/[^/]+', () => aRun({ state, verdict, finishedAt: '2026-01-02T03:05:05.000Z' }));
    api.on('GET', '/v1/runs/[^/]+/events', () => ({ items: [], nextSeq: 1 }));
    const { code, out } = await cairn('submit -r mini --wait');
    expect(code).toBe(expected);
    expect(out).toContain(`mini-1 ${state} after 1 min 00 s${verdict === 'failed' ? '; quality gate failed' : ''}`);
  });
});

test('--dry-run and plan show each step with what would happen and why', async () => {
  const step = { kind: 'train' as const, needs: [], settings: {}, slots: 2, estimate: null, split: null };
  const estimate = { gpuHours: 0.02, gpuMemoryGib: 1.5, basis: '1 epoch x 100 images' };
  const recipe = {
    name: 'mini',
    model: { backbone: 'resnet18' },
    stages: { '384': { from: 'init', list: 'clean', imageSize: 48, epochs: 1, learningRate: 0.1, batch: 8, ranks: 2 } },
    export: { stage: '384', imageSize: 48 },
    extract: { index: { list: 'index' }, query: { list: 'query' } },
    register: { model: 'mini' },
  };
  const plan = {
    recipe,
    dataset: 'mini@1',
    steps: [
      { ...step, name: 'prepare', kind: 'prepare', slots: 0, action: 'reuse', why: 'from run mini-1' },
      { ...step, name: '384', action: 'run', why: 'epochs differs from that of mini-1', estimate, split: '16 images per step' },
    ],
    estimate: { ...estimate, basis: 'the sum over 384' },
  };
  api.on('POST', '/v1/runs', () => plan);
  const { code, out } = await cairn('plan -r mini');
  expect(code).toBe(0);
  expect(out).toBe(`mini on mini@1: 2 steps, 1 reused

step      kind      action    slots   GPU-hours   GPU memory   why
prepare   prepare   ↺ reuse                                    from run mini-1
384       train     run           2        0.02     1.50 GiB   epochs differs from that of mini-1

Estimate: 0.02 GPU-hours, at most 1.50 GiB per GPU (the sum over 384)

How the estimates were made:
  384: 1 epoch x 100 images

How an optimizer step is split, and what changes with the number of GPUs:
  384: 16 images per step
`);
  expect(api.requests[0]?.query.get('dryRun')).toBe('true');
  expect((await cairn('submit -r mini --dry-run')).out).toBe(out);

  const nothing = { gpuHours: 0, gpuMemoryGib: null, basis: 'no step that would run needs a GPU' };
  api.on('POST', '/v1/runs', () => ({ ...plan, steps: plan.steps.slice(0, 1), estimate: nothing }));
  expect((await cairn('plan -r mini')).out).toContain('\nEstimate: no step that would run needs a GPU\n');
});

describe('runs', () => {
  test('are listed as a table with relative times', async () => {
    const old = {
      ...summary,
      name: 'old-run',
      id: idFor('run', 2),
      state: 'failed',
      mapAt100: { best: 0.683, last: 0.41 },
      gpuSeconds: 9_000,
      finishedAt: '2026-01-02T03:04:53.000Z',
      createdAt: '2026-01-01T03:00:00.000Z',
    };
    api.on('GET', '/v1/runs', () => ({ items: [summary, old], nextCursor: null, total: 2 }));
    const { out } = await cairn('runs');
    expect(out).toBe(`name      state     steps   done   best mAP@100   GPU-hours   recipe   dataset         time   submitted   id
mini-1    running     0/1    0 %                              mini     mini@1    5 min 55 s   5 min ago   ${idFor('run', 1)}
old-run   failed      0/1                68.3 %         2.5   mini     mini@1          48 s     1 d ago   ${idFor('run', 2)}
`);
  });

  test('are filtered by the server, and at most --limit of them are fetched and shown', async () => {
    api.on('GET', '/v1/runs', ({ query }) => ({
      items: Array.from({ length: 2 }, (_, i) => ({ ...summary, name: `r-${query.get('cursor')}-${i}` })),
      nextCursor: 'more',
      total: 9,
    }));
    const { out, err } = await cairn(
      'runs --state failed cancelled --recipe mini --search night --created-after 2027-01-31T00:00:00Z --sort -mapAt100 --limit 3',
    );
    expect(out.trim().split('\n')).toHaveLength(4);
    expect(err).toContain('--limit 15');
    expect(String(api.requests[0]?.query)).toBe(
      'sort=-mapAt100&limit=3&q=night&state=failed&state=cancelled&recipe=mini&createdAfter=2027-01-31T00%3A00%3A00Z',
    );
    expect((await cairn('runs --state dancing')).code).toBe(2);
  });

  test('--json is one document on stdout and nothing else', async () => {
    api.on('GET', '/v1/runs', () => ({ items: [summary], nextCursor: null, total: 1 }));
    const { out, err } = await cairn('runs --json');
    expect(JSON.parse(out)).toEqual({ items: [summary], hasMore: false });
    expect(err).toBe('');
  });
});

test('show lists steps, artifacts, failures and the attempts of failed steps', async () => {
  const artifact = { id: idFor('art', 1), kind: 'checkpoint', digest: null, prefix: 'checkpoints/x/' } as const;
  const failure = { cause: 'user' as const, code: 'training_diverged', message: 'The loss is not finite' };
  const steps = [
    aStep({
      name: '384',
      kind: 'train',
      state: 'succeeded',
      artifact,
      attempts: 1,
      startedAt: '2026-01-02T03:04:05.000Z',
      finishedAt: '2026-01-02T03:04:53.000Z',
    }),
    aStep({ name: '512_all', kind: 'train', state: 'failed', failure, attempts: 3 }),
    aStep({
      ...{ name: 'evaluate', kind: 'evaluate', state: 'succeeded' },
      scores: { mapAt100: 0.671, 'mapAt100.low': 0.6, 'mapAt100.high': 0.74 },
    }),
  ];
  api.on('GET', '/v1/runs', () => ({ items: [summary], nextCursor: null, total: 1 }));
  api.on('GET', '/v1/runs/[^/]+', () => aRun({ state: 'failed', stepViews: steps }));
  api.on('GET', '/v1/artifacts/[^/]+', () => ({
    ...artifact,
    state: 'ready',
    location: 'file:///data/checkpoints/x/',
    bytes: 45_000_000,
    files: [],
    fileCount: 0,
    details: {},
    runId: null,
    createdAt: '2026-01-02T03:04:05.000Z',
  }));
  const lost = { cause: 'infrastructure', code: 'node_lost', message: 'its node was lost' } as const;
  api.on('GET', '/v1/runs/[^/]+/steps/512_all/attempts', () => ({
    items: [anAttempt({ step: '512_all', state: 'lost', failure: lost, endedAt: '2026-01-02T03:05:00.000Z', place: 'node a' })],
  }));
  const { out } = await cairn('show mini-1');
  expect(out).toContain('512_all/1   lost    55 s   infrastructure: its node was lost; node a');
  expect(out).toContain('✔   384        train      succeeded   48 s          1');
  expect(out).toContain('384    checkpoint   45.0 MB   file:///data/checkpoints/x/');
  expect(out).toContain('512_all failed (user, training_diverged): The loss is not finite');
  expect(out).toContain('mAP@100 67.1 % (95 %: 60.0 to 74.0)');
  const json = JSON.parse((await cairn('show mini-1 --json')).out);
  expect(json).toMatchObject({
    run: { name: 'mini-1' },
    artifacts: [{ location: 'file:///data/checkpoints/x/' }],
    attempts: [{ state: 'lost' }],
  });
});

test('cancel and retry send their options and print the new state', async () => {
  api.on('GET', '/v1/runs', () => ({ items: [summary], nextCursor: null, total: 1 }));
  api.on('POST', '/v1/runs/[^/]+/cancel', () => aRun({ state: 'cancelling' }));
  api.on('POST', '/v1/runs/[^/]+/retry', () => aRun({ state: 'queued' }));
  expect((await cairn('cancel mini-1 --reason enough')).out).toBe('mini-1 cancelling\n');
  expect((await cairn('retry mini-1 --from 384')).out).toBe('mini-1 queued again\n');
  const posts = api.requests.filter(({ method }) => method === 'POST').map(({ path, body }) => [path.split('/').at(-1), JSON.parse(body)]);
  expect(posts).toEqual([
    ['cancel', { reason: 'enough' }],
    ['retry', { from: '384' }],
  ]);
});

describe('errors', () => {
  test.each([
    ['no token', 'unauthenticated', 5],
    ['insufficient role', 'forbidden', 5],
    ['a part that does not answer', 'rate_limited', 6],
    ['a fault of the server', 'internal', 1],
    ['an unknown setting', 'unknown_setting', 2],
    ['a missing CSV', 'missing_file', 2],
    ['a wrong state', 'wrong_state', 2],
    ['a wrong configuration', 'invalid_configuration', 78],
  ] as const)('%s exits with the documented code', async (_, code, expected) => {
    api.on('POST', '/v1/gc', (_request, response) => sendProblem(response, code, 'what happened'));
    const { code: exit, err, out } = await cairn('gc');
    expect(exit).toBe(expected);
    expect(err).toContain('error: what happened\nhint: ');
    expect(out).toBe('');
  });

  test('with --json are problem documents on stderr, including those of the command line', async () => {
    api.on('GET', '/v1/fleet', (_, response) => sendProblem(response, 'forbidden', 'viewer is not enough'));
    const refused = await cairn('fleet --json');
    expect(problem.parse(JSON.parse(refused.err))).toMatchObject({ code: 'forbidden', detail: 'viewer is not enough', requestId: 'req-1' });
    const misused = await cairn('runs --json --limt 3');
    expect(problem.parse(JSON.parse(misused.err))).toMatchObject({ code: 'invalid_request', detail: "unknown option '--limt'" });
    expect(misused.out).toBe('');
  });

  test('the fleet is shown with what is free on each machine', async () => {
    const pool = { executor: 'kubernetes', slots: 16, busy: 8, waiting: 1 };
    const room = { fits: 1, sentences: ['node a: 8 of 8 GPUs free', 'node b: cordoned'] };
    const pools = [
      { name: 'gpus', ...pool, room },
      { name: 'tasks', ...pool, executor: 'tasks', room: null },
    ];
    api.on('GET', '/v1/fleet', () => ({ leader: null, pools }));
    const { out } = await cairn('fleet');
    expect(out).toContain('gpus has room for 1 more attempt:\n  node a: 8 of 8 GPUs free\n  node b: cordoned\n');
    expect(out).not.toContain('tasks has room');
  });

  test('an unknown and a missing command list the commands', async () => {
    expect(await cairn('submitt')).toMatchObject({
      code: 2,
      err: "error: unknown command 'submitt'\nhint: Did you mean submit? `cairn --help` lists the commands.\n",
    });
    expect(await cairn('')).toMatchObject({ code: 2, err: expect.stringContaining('no command is given') });
  });

  test('an unreachable service is exit code 6', async () => {
    const { url } = api;
    await api.close();
    const { code, err } = await runTestCli(['fleet'], { url });
    api = await startStubApi();
    expect(code).toBe(6);
    expect(err).toContain('cannot be reached');
    expect(err).toContain('hint: Check that the service runs (`cairn up` starts one)');
  });

  test('an interrupt is exit code 130 and says that the run continues', async () => {
    const interrupt = new AbortController();
    api.on('GET', '/v1/runs', () => ({ items: [summary], nextCursor: null, total: 1 }));
    api.on('GET', '/v1/events', (_, response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' }).flushHeaders();
      interrupt.abort(new DOMException('got SIGINT', 'AbortError'));
    });
    const { code, err } = await cairn('watch mini-1', { signal: interrupt.signal });
    expect(code).toBe(130);
    expect(err).toContain('The run continues.');
  });
});

describe('help', () => {
  test('has every command and the table of exit codes', async () => {
    const { code, out } = await cairn('--help');
    expect(code).toBe(0);
    for (const name of 'up submit plan runs show watch logs cancel retry lists tars mini gc recipes recipe datasets dataset models tokens fleet completion version'.split(
      ' ',
    )) {
      expect(out).toMatch(new RegExp(`^ {2}${name}\\b`, 'm'));
    }
    expect(out).toContain('  130  interrupted by Ctrl-C');
  });

  test('of a command shows its options', async () => {
    const { out } = await cairn('submit --help');
    expect(out).toContain('--no-reuse [steps]');
    expect((await cairn('help submit')).out).toBe(out);
    expect((await cairn('help dataset add')).out).toContain('--countries <folder>');
    expect((await cairn('alias set production landmark@7')).err).toContain('`cairn alias set --help` shows its options.');
  });
});

test('version prints the release', async () => {
  const version = await cairn('version');
  expect(version.out).toMatch(/^cairn \d+\.\d+\.\d+\n$/);
  for (const asked of ['--version', '-V', 'runs --version']) expect(await cairn(asked)).toEqual(version);
  expect(await cairn('--version --json')).toEqual(await cairn('version --json'));
});
