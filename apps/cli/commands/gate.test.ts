import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { aRun, aStep, idFor, type StubApi, sendProblem, startStubApi } from '@cairn/client/testing';
import { type GateVerdict, type Judgement, type RunGateView, type RunView, runListItem } from '@cairn/contract';
import { afterEach, beforeEach, expect, onTestFinished, test } from 'vitest';
import { runTestCli } from '../testing/test-cli.ts';

const gate = 'mAP@100 >= production - 0.2 points';
const judged = (verdict: GateVerdict): Judgement => ({
  ...{ gate, by: 'interval', minQueries: 1, verdict, reason: 'mAP@100 is 54 %, <b>worse</b> than landmark@7 (production).' },
  ...{ queries: 450, value: 0.54, baselineValue: 0.55, difference: -0.01, low: -0.02, high: 0, limit: -0.002 },
  evaluation: { id: idFor('art', 1), name: 'mini-1/evaluate' },
  model: { model: 'landmark', version: 8 },
  baseline: { model: 'landmark', version: 7, evaluationId: idFor('art', 2) },
  lost: [{ queryId: 'q`1|x', a: 0.9, b: 0.1 }],
});

/** The run as it ends, and the verdict of its gate. */
const ended = (verdict: GateVerdict, over: Partial<RunGateView> = {}): RunView =>
  aRun({
    ...{ state: 'succeeded', finishedAt: '2026-01-02T03:05:05.000Z', verdict, stepViews: [aStep({ scores: { mapAt100: 0.54 } })] },
    gate: {
      ...{ gate, by: 'interval', minQueries: 1, onInconclusive: null, promote: null, evaluateBaseline: false },
      ...{ state: 'judged', problem: null },
      judgement: { ...judged(verdict), judgedBy: 'ada', judgedAt: '2026-01-02T03:05:06.000Z', promotion: null },
      ...over,
    },
  });

let api: StubApi;
let states: RunView[];
beforeEach(async () => {
  api = await startStubApi();
  states = [ended('failed')];
  api.on('POST', '/v1/runs', () => aRun());
  // Without a hint of its stream a watcher asks again only after 15 s.
  let hint = (): void => undefined;
  api.on('GET', '/v1/runs/[^/]+', () => {
    if (states.length < 2) return states[0];
    hint();
    return states.shift();
  });
  api.on('GET', '/v1/runs/[^/]+/events', () => ({ items: [], nextSeq: 1 }));
  api.on('GET', '/v1/events', (_, response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' }).flushHeaders();
    hint = () => void response.write(`event: hint\ndata: {"topic":"run:${idFor('run', 1)}","what":"progress"}\n\n`);
  });
});
afterEach(() => api.close());

const cairn = (...args: string[]) => runTestCli(args, { url: api.url });
const submitGated = ['submit', '-r', 'mini', '--wait', '--gate', gate];

test.each<[GateVerdict, 'pass' | 'fail' | null, number]>([
  ['passed', null, 0],
  ['failed', null, 4],
  ['inconclusive', null, 7],
  ['inconclusive', 'pass', 0],
  ['inconclusive', 'fail', 4],
  ['failed', 'pass', 4],
])(
  'a gate that is %s with --on-inconclusive %s exits with %i, for a run that is waited for and for an evaluation',
  async (wanted, onInconclusive, code) => {
    const options = onInconclusive === null ? [] : ['--on-inconclusive', onInconclusive];
    states = [ended(wanted, { onInconclusive })];
    api.on('GET', '/v1/gate', () => judged(wanted));
    const waited = await cairn(...submitGated, '--by', 'mean', '--min-queries', '100', '--promote', 'production', ...options);
    expect(waited.code).toBe(code);
    expect(waited.out).toContain(`Gate ${wanted}: ${gate}\nmAP@100 is 54 %`);
    const sent = api.requests.find(({ method }) => method === 'POST');
    expect(JSON.parse(sent?.body ?? '').gate).toEqual({
      gate,
      by: 'mean',
      minQueries: 100,
      onInconclusive,
      promote: { alias: 'production' },
    });
    expect((await cairn('gate', gate, 'mini-1', ...options)).code).toBe(code);
  },
);

test('--evaluate-baseline goes with the submission; for an evaluation it waits for the run that evaluates the baseline, and asks again', async () => {
  states = [ended('passed')];
  expect((await cairn(...submitGated, '--evaluate-baseline')).code).toBe(0);
  expect(JSON.parse(api.requests.find(({ method }) => method === 'POST')?.body ?? '').gate).toMatchObject({ evaluateBaseline: true });

  let isEvaluated = false;
  api.on('GET', '/v1/gate', (_, response) => {
    if (isEvaluated) return judged('failed');
    sendProblem(response, 'not_comparable', 'other galleries');
    return undefined;
  });
  api.on('POST', '/v1/gate/baseline', () => {
    isEvaluated = true;
    return aRun();
  });
  expect(await cairn('gate', gate, 'mini-1')).toMatchObject({ code: 2, err: expect.stringContaining('other galleries') });
  const { code, out, err } = await cairn('gate', gate, 'mini-1', '--evaluate-baseline');
  expect({ code, err }).toEqual({ code: 4, err: expect.stringContaining('mini-1 evaluates the baseline on the same data.') });
  expect(out).toContain(`Gate failed: ${gate}`);
  expect(JSON.parse(api.requests.findLast(({ method }) => method === 'POST')?.body ?? '')).toEqual({ of: 'mini-1', gate });
});

test('the wait goes on until the verdict is there, and says why it takes longer', async () => {
  const judging = { state: 'judging', judgement: null } as const;
  const away = ended('passed', { ...judging, problem: 'the bucket does not answer' });
  const reason = 'landmark@production now names version 8 instead of 7.';
  const last = ended('passed');
  if (last.gate?.judgement) last.gate.judgement.promotion = { alias: 'production', outcome: 'moved', reason };
  states = [ended('passed', judging), away, last];
  const waited = await cairn(...submitGated);
  expect(waited.code).toBe(0);
  expect(waited.out).toMatch(/the gate is being judged\n.*the bucket does not answer\n/);
  expect(waited.out.trimEnd().endsWith(reason)).toBe(true);
  api.on('GET', '/v1/runs', () => ({ items: [runListItem.parse(last)], nextCursor: null, total: 1 }));
  states = [last];
  expect((await cairn('show', 'mini-1')).out).toContain(reason);
});

test('the comment says what became of the run, with the text of others escaped', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'gate-'));
  onTestFinished(() => rm(folder, { recursive: true }));
  const file = join(folder, 'comment.md');
  expect((await cairn('submit', '-r', 'mini', '--wait', '--gate', gate, '--comment-file', file)).code).toBe(4);
  const text = await readFile(file, 'utf8');
  expect(text).toContain(`### [mini-1](${api.url}/runs/${idFor('run', 1)}): gate failed\n\n\`mAP@100 >= production - 0.2 points\`\n`);
  expect(text).toContain('&lt;b&gt;worse&lt;/b&gt;');
  expect(text).toContain(
    `| [\`\` q\`1\\|x \`\`](<${api.url}/evaluation?of=${idFor('art', 1)}&against=${idFor('art', 2)}&query=q%601%7Cx>) | 90.0 % | 10.0 % |`,
  );
  expect(text).toContain('| prepare | prepare | blocked |  | 54.0 % |');
});

test('in GitHub Actions the job has an annotation, and the comment as its summary', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'gate-'));
  onTestFinished(() => rm(folder, { recursive: true }));
  const env = { GITHUB_ACTIONS: 'true', GITHUB_STEP_SUMMARY: join(folder, 'summary.md') };
  const title = 'title=Quality gate failed%3A mAP@100 >= production - 0.2 points';
  const inActions = await runTestCli(submitGated, { url: api.url, env });
  expect(inActions.err).toContain(`::error ${title}::mAP@100 is 54 %25, <b>worse</b>`);
  expect(await readFile(env.GITHUB_STEP_SUMMARY, 'utf8')).toContain(': gate failed\n');
  states = [ended('passed')];
  expect((await runTestCli(submitGated, { url: api.url, env })).err).not.toContain('::');
  expect((await readFile(env.GITHUB_STEP_SUMMARY, 'utf8')).match(/^### /gm)).toHaveLength(2);
});

test('in GitHub Actions a run that was cancelled, or is not over in time, is an annotation too, without a file for the summary', async () => {
  const env = { GITHUB_ACTIONS: 'true' };
  states = [aRun({ state: 'cancelled', cause: 'by eve: wrong list', finishedAt: '2026-01-02T03:05:05.000Z' })];
  const cancelled = await runTestCli(submitGated, { url: api.url, env });
  expect(cancelled).toMatchObject({ code: 3, err: expect.stringContaining('::error title=mini-1 was cancelled::by eve: wrong list') });
  states = [aRun({ state: 'running' })];
  const late = await runTestCli([...submitGated, '--timeout', '1s'], { url: api.url, env });
  expect(late.code).toBe(8);
  expect(late.err).toContain('mini-1 was not over after 1.0 s (--timeout).');
  expect(late.err).toContain('::error title=mini-1 was not over within --timeout::It is running and continues: cairn watch mini-1');
});

test('the exit code stays that of the gate when the comment cannot be written', async () => {
  const env = { GITHUB_ACTIONS: 'true', GITHUB_STEP_SUMMARY: tmpdir() };
  const { code, err } = await runTestCli(submitGated, { url: api.url, env });
  expect(code).toBe(4);
  expect(err).toContain('What became of the run could not be written: EISDIR');
  expect(err).toContain('::error title=Quality gate failed');
});

test('the comment says why a gate was not judged', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'gate-'));
  onTestFinished(() => rm(folder, { recursive: true }));
  const file = join(folder, 'comment.md');
  states = [ended('passed', { state: 'refused', judgement: null, problem: 'Model landmark has no alias <production>' })];
  const env = { GITHUB_ACTIONS: 'true', GITHUB_STEP_SUMMARY: join(folder, 'summary.md') };
  const refused = await runTestCli([...submitGated, '--comment-file', file], { url: api.url, env });
  expect(refused.code).toBe(2);
  expect(refused.err).toContain('::error title=mini-1%3A quality gate not judged::Model landmark has no alias <production>');
  expect(await readFile(file, 'utf8')).toContain(': gate not judged\n\nModel landmark has no alias &lt;production&gt;\n');
  api.on('GET', '/v1/runs', () => ({ items: [runListItem.parse(states[0])], nextCursor: null, total: 1 }));
  expect((await cairn('show', 'mini-1')).out).toMatch(/gate +mAP@100 .*: not judged\n +Model landmark has no alias <production>\n/);
});

test('a wait ends with its own exit code after --timeout, and the run continues', async () => {
  states = [aRun()];
  const { code, err } = await cairn('submit', '-r', 'mini', '--wait', '--timeout', '0.3s', '--gate', gate);
  expect(code).toBe(8);
  expect(err).toContain('The run continues.');
});

test('wrong options are refused before anything is submitted', async () => {
  for (const [args, message] of [
    [['submit', '-r', 'mini', '--promote', 'production'], '--promote needs --gate'],
    [['submit', '-r', 'mini', '--evaluate-baseline'], '--evaluate-baseline needs --gate'],
    [['submit', '-r', 'mini', '--timeout', '3d'], '--timeout needs --wait'],
    [['submit', '-r', 'mini', '--wait', '--gate', 'mAP > 3'], 'The gate "mAP > 3" cannot be read'],
    [['submit', '-r', 'mini', '--wait', '--comment-file', '/nowhere/c.md'], 'The comment cannot be written to /nowhere/c.md: ENOENT'],
    [['submit', '-r', 'mini', '--wait', '--timeout', '3 weeks'], 'It must be a time such as 90m, 12h or 3d'],
  ] as const) {
    const { code, err } = await cairn(...args);
    expect({ code, err }).toEqual({ code: 2, err: expect.stringContaining(message) });
  }
  expect(api.requests).toEqual([]);
});
