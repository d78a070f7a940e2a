import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInternalClient } from '@cairn/client';
import { type CairnError, type ReportReply, reportRequest } from '@cairn/contract';
import { expect, onTestFinished, test, vi } from 'vitest';
import { startControlPlane } from '../testing/control-plane.ts';
import { specOf } from '../testing/specs.ts';
import { createReporter, type ReporterOptions } from './reporter.ts';

vi.setConfig({ testTimeout: 30_000 });

async function open(options: Partial<ReporterOptions> = {}) {
  const plane = await startControlPlane({ spec: specOf('train') });
  const workDir = mkdtempSync(join(tmpdir(), 'cairn-reporter-'));
  const abort = new AbortController();
  const replies: ReportReply[] = [];
  const refusals: CairnError[] = [];
  const troubles: string[] = [];
  const { id: attemptId, generation } = plane.state.spec.attempt;
  let failures = 0;
  const client = createInternalClient({
    urls: [plane.url],
    attemptId,
    generation,
    token: plane.token,
    signal: abort.signal,
    onRetry: () => {
      failures += 1;
    },
  });
  const reporter = createReporter({
    client,
    workDir,
    heartbeatSeconds: 0.2,
    signal: abort.signal,
    onReply: (reply) => replies.push(reply),
    onRefused: (error) => refusals.push(error),
    onTrouble: (message) => troubles.push(message),
    ...options,
  });
  onTestFinished(async () => {
    abort.abort(new Error('the test is over'));
    reporter.close();
    await plane.close();
    rmSync(workDir, { recursive: true });
  });
  return { plane, reporter, workDir, replies, refusals, troubles, failures: () => failures };
}

const eventually = <T>(read: () => T) => expect.poll(read, { timeout: 45_000, interval: 15 });
const note = (message: string) => ({ type: 'note', level: 'info', message }) as const;

test('everything reported arrives once and in order', async () => {
  const { plane, reporter } = await open();
  reporter.log('stdout', 'epoch 1\n');
  reporter.metric('loss', 1, 2.5, 10);
  reporter.metric('loss', 2, 2.25, 11);
  reporter.report(note('first'));
  reporter.metric('loss', 3, 2, 12);
  reporter.report({ type: 'evaluation', when: 'start', step: 3, mapAt100: 0.25 });
  reporter.log('stdout', 'epoch 2\n');
  await reporter.end();
  expect(plane.logText('stdout')).toBe('epoch 1\nepoch 2\n');
  const items = plane.state.reports.flatMap((report) => report.items).filter((item) => item.type !== 'log');
  expect(items).toEqual([
    { type: 'metrics', name: 'loss', steps: [1, 2], values: [2.5, 2.25], times: [10, 11] },
    note('first'),
    { type: 'metrics', name: 'loss', steps: [3], values: [2], times: [12] },
    { type: 'evaluation', when: 'start', step: 3, mapAt100: 0.25 },
  ]);
});

test('a heartbeat is sent even without anything to report', async () => {
  const { plane } = await open();
  await eventually(() => plane.state.reports.length).toBeGreaterThanOrEqual(3);
  expect(plane.state.reports.flatMap((report) => report.items)).toEqual([]);
});

test('vital items are sent long before the heartbeat, several in one report', async () => {
  const { plane, reporter } = await open({ heartbeatSeconds: 3600 });
  for (const message of ['a', 'b', 'c']) reporter.report(note(message));
  await eventually(() => plane.items('note').map((item) => item.message)).toEqual(['a', 'b', 'c']);
  expect(plane.state.reports).toHaveLength(1);
});

test('a flush waits until everything reported so far is answered, or nothing is sent any more', async () => {
  const { plane, reporter } = await open({ heartbeatSeconds: 600 });
  reporter.log('agent', 'a line\n');
  reporter.report({ type: 'note', level: 'warning', message: 'first' });
  await reporter.flush();
  expect(plane.items('note')).toMatchObject([{ message: 'first' }]);
  expect(plane.items('log')).toMatchObject([{ text: 'a line\n' }]);
  reporter.report({ type: 'note', level: 'warning', message: 'second' });
  const flushed = reporter.flush();
  await reporter.end();
  await flushed;
  await reporter.flush();
  expect(plane.items('note')).toHaveLength(2);
});

test('only the newest progress is sent', async () => {
  const { plane, reporter } = await open({ heartbeatSeconds: 3600 });
  for (const done of [1, 2, 3]) reporter.progress({ done, total: 3, unit: 'steps', rate: null, etaSeconds: null, message: '' });
  await reporter.end();
  expect(plane.items('progress').map((item) => item.done)).toEqual([3]);
});

test('log chunks are cut between characters, have exact offsets and survive invalid UTF-8', async () => {
  const { plane, reporter } = await open();
  const bytes = Buffer.from('ä€😀x'.repeat(30_000));
  for (let at = 0; at < bytes.length; at += 7777) reporter.log('stderr', bytes.subarray(at, at + 7777));
  reporter.log('stderr', Buffer.from([0x00, 0xff, 0x41, 0xe2, 0x82]));
  await reporter.end();
  expect(plane.logText('stderr')).toBe(`${bytes.toString()}␀\ufffdA\ufffd`);
  const sizes = plane.items('log').map((item) => Buffer.byteLength(item.text));
  expect(Math.max(...sizes)).toBeLessThanOrEqual(64 * 1024);
});

test('an outage neither loses nor repeats anything, and reporting does not wait for it', async () => {
  const { plane, reporter, failures } = await open({ memoryBytes: 20_000 });
  reporter.report(note('before'));
  await eventually(() => plane.items('note').length).toBe(1);
  await plane.down();
  for (let step = 1; step <= 5000; step += 1) {
    reporter.metric('loss', step, 1 / step, step);
    reporter.log('stdout', `step ${step} of a long training\n`);
    if (step % 100 === 0) reporter.report(note(`at ${step}`));
  }
  await eventually(failures).toBeGreaterThan(0);
  plane.state.losesAnswers = 1;
  await plane.up();
  await reporter.end();
  const steps = plane.items('metrics').flatMap((item) => item.steps);
  expect(steps).toEqual(Array.from({ length: 5000 }, (_, index) => index + 1));
  expect(plane.items('note')).toHaveLength(51);
  expect(plane.logText('stdout').split('\n')).toHaveLength(5001);
  expect(plane.state.repeatedReports).toBeGreaterThan(0);
});

test('pending items are kept on disk once memory is full', async () => {
  const { plane, reporter, workDir } = await open({ memoryBytes: 1000, heartbeatSeconds: 3600 });
  await plane.down();
  for (let index = 0; index < 100; index += 1) reporter.report(note(`note ${index} ${'x'.repeat(100)}`));
  expect(readFileSync(join(workDir, 'reports.ndjson'), 'utf8').split('\n').length).toBeGreaterThan(80);
  await plane.up();
  await reporter.end();
  expect(plane.items('note').map((item) => item.message.split(' ')[1])).toEqual(Array.from({ length: 100 }, (_, index) => String(index)));
});

test('over the limits logs are cut with a visible line, curves are thinned out, and notes are kept', async () => {
  const { plane, reporter } = await open({ memoryBytes: 1000, diskBytes: 600_000 });
  await plane.down();
  for (let index = 0; index < 40_000; index += 1) reporter.log('stdout', `line ${index} ${'x'.repeat(40)}\n`);
  for (let step = 1; step <= 20_000; step += 1) reporter.metric('loss', step, 1, step);
  reporter.report(note('kept'));
  await plane.up();
  await eventually(() => plane.items('note').length).toBe(1);
  reporter.log('stdout', 'after the outage\n');
  await reporter.end();
  const text = plane.logText('stdout');
  expect(text).toMatch(/^line 0 /);
  expect(text).toMatch(/\n\[\d+ bytes were left out here: the control plane was away and the buffer was full\]\n/);
  expect(text).toMatch(/after the outage\n$/);
  const steps = plane.items('metrics').flatMap((item) => item.steps);
  expect(steps.length).toBeLessThan(20_000);
  expect(steps.at(-1)).toBe(20_000);
  expect(steps).toEqual(steps.toSorted((a, b) => a - b));
});

test('a reply that asks to stop is passed on, and reports continue', async () => {
  const { plane, reporter, replies } = await open();
  plane.state.reply = { directive: 'stop', cause: 'cancelled', reason: 'cancelled by the run', graceSeconds: 5 };
  reporter.report(note('x'));
  await eventually(() => replies.at(-1)).toEqual({
    directive: 'stop',
    cause: 'cancelled',
    reason: 'cancelled by the run',
    graceSeconds: 5,
  });
  const count = plane.state.reports.length;
  await eventually(() => plane.state.reports.length).toBeGreaterThan(count);
});

test('a superseded attempt reports it once, sends nothing more, and cannot finish', async () => {
  const { plane, reporter, refusals } = await open();
  plane.state.superseded = true;
  let requests = 0;
  plane.state.onRequest = () => {
    requests += 1;
  };
  reporter.report(note('x'));
  await eventually(() => refusals.map((error) => error.code)).toEqual(['superseded']);
  reporter.report(note('y'));
  await expect(reporter.end()).rejects.toMatchObject({ code: 'superseded' });
  expect(requests).toBe(1);
});

test('an item that the control plane does not understand is dropped alone', async () => {
  const { plane, reporter, troubles } = await open();
  plane.state.onRequest = () => undefined;
  reporter.report(note('good 1'));
  reporter.report(note('x'.repeat(4000)));
  reporter.report(note('good 2'));
  plane.state.refuses = (item) => item.type === 'note' && item.message.length === 4000;
  await reporter.end();
  expect(plane.items('note').map((item) => item.message)).toEqual(['good 1', 'good 2']);
  expect(troubles).toHaveLength(1);
});

test('an item that could never be sent is dropped when it is reported, and text that is too long is cut', async () => {
  const { plane, reporter, troubles } = await open();
  reporter.report({ type: 'evaluation', when: 'end', step: -1, mapAt100: 0.5 });
  reporter.progress({ done: Number.NaN, total: 1, unit: 'steps', rate: null, etaSeconds: null, message: '' });
  reporter.report(note('x'.repeat(5000)));
  await reporter.end();
  expect(plane.items('note').map((item) => item.message)).toEqual(['x'.repeat(4000)]);
  expect(troubles).toHaveLength(2);
});

test('a report never exceeds the size of a request', async () => {
  const { plane, reporter } = await open();
  const sizes: number[] = [];
  plane.state.onReport = (body) => void sizes.push(Buffer.byteLength(JSON.stringify(reportRequest.parse(body))));
  // A control character takes six bytes of JSON.
  reporter.log('stdout', '\u0001'.repeat(600_000));
  await reporter.end();
  expect(plane.logText('stdout')).toHaveLength(600_000);
  expect(Math.max(...sizes)).toBeLessThan(1024 * 1024);
});
