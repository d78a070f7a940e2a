import { mkdtemp, readdir, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { anAttempt, aRun, aStep, idFor, type StubApi, sendEndlessly, startStubApi } from '@cairn/client/testing';
import { type LogStream, runListItem } from '@cairn/contract';
import { afterEach, beforeEach, describe, expect, onTestFinished, test } from 'vitest';
import { createStyle } from '../output/style.ts';
import { runTestCli } from '../testing/test-cli.ts';
import { createLogPrinter } from './logs.ts';

const piece = (ordinal: number, stream: LogStream, text: string) => ({ attemptId: `att_${ordinal}`, ordinal, stream, offset: 0, text });

describe('the printer of logs', () => {
  const print = (pieces: ReturnType<typeof piece>[]): string[] => {
    const lines: string[] = [];
    const printer = createLogPrinter((line) => lines.push(line), createStyle(false));
    for (const one of pieces) printer.add(one);
    printer.end();
    return lines;
  };

  test('joins pieces into whole lines and keeps the end without a line break', () => {
    expect(print([piece(1, 'stdout', 'one\ntw'), piece(1, 'stdout', 'o\n\nrest')])).toEqual(['one', 'two', '', 'rest']);
  });

  test('prints an endless line in parts of some length', () => {
    const long = 'x'.repeat(2 ** 20 + 1);
    expect(print([piece(1, 'stdout', long), piece(1, 'stdout', 'and'), piece(1, 'stdout', ' on')])).toEqual([long, 'and on']);
  });

  test('marks stream and attempt once there are several', () => {
    expect(print([piece(1, 'agent', 'a\n'), piece(1, 'stdout', 'b'), piece(1, 'stderr', 'c\n'), piece(2, 'stdout', 'd\n')])).toEqual([
      'a',
      'stderr | c',
      '2 stdout | d',
      '1 stdout | b',
    ]);
  });
});

describe('cairn logs', () => {
  let api: StubApi;
  beforeEach(async () => {
    api = await startStubApi();
    const step = aStep({ name: '384', kind: 'train', state: 'succeeded', attempts: 1 });
    const reused = aStep({ name: 'prepare', state: 'reused', reusedFrom: { runId: idFor('run', 9), runName: 'mini-0' } });
    const summary = runListItem.parse(aRun());
    api.on('GET', '/v1/runs', () => ({ items: [summary], nextCursor: null, total: 1 }));
    api.on('GET', '/v1/runs/[^/]+', () => aRun({ stepViews: [reused, step] }));
    api.on('GET', '/v1/runs/[^/]+/steps/384', () => step);
    api.on('GET', '/v1/runs/[^/]+/steps/384/attempts', () => ({ items: [anAttempt({ endedAt: '2026-01-02T03:05:00.000Z' })] }));
    api.on('GET', '/v1/attempts/[^/]+/logs', ({ query }) => {
      const stream = query.get('stream');
      const offset = Number(query.get('offset'));
      const text = { stdout: 'epoch 1\nepoch 2\n', stderr: 'warning: slow\n', agent: '' }[String(stream)] ?? '';
      return { stream, offset, nextOffset: text.length, text: text.slice(offset), end: true, size: text.length };
    });
  });
  afterEach(() => api.close());
  const logs = (...args: string[]) => runTestCli(['logs', 'mini-1', ...args], { url: api.url });

  test('prints one stream unchanged, all of them with their marks, followed or not', async () => {
    expect((await logs('384', '--stream', 'stdout')).out).toBe('epoch 1\nepoch 2\n');
    const all = (await logs('384')).out;
    expect(all).toContain('epoch 1\n');
    expect(all).toContain('stderr | warning: slow\n');
    expect((await logs('384', '-f')).out).toBe(all);
  });

  test('with --json each piece is a line with its attempt, stream and offset', async () => {
    const lines = (await logs('384', '--json')).out
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
    expect(lines).toContainEqual({ attemptId: idFor('att', 1), ordinal: 1, stream: 'stdout', offset: 0, text: 'epoch 1\nepoch 2\n' });
  });

  test('a search prints the lines that contain a text, each with its attempt, stream and number, page by page', async () => {
    const attempts = [1, 2].map((ordinal) => anAttempt({ id: idFor('att', ordinal), ordinal }));
    api.on('GET', '/v1/runs/[^/]+/steps/384/attempts', () => ({ items: attempts }));
    api.on('GET', '/v1/attempts/[^/]+/logs/search', ({ query, path }) => {
      const [stream, from] = [query.get('stream'), Number(query.get('from'))];
      const none = stream !== 'stderr' || !path.includes(idFor('att', 2)) || query.get('q') !== 'loss';
      const match = { line: from + 6, offset: from * 100, text: `loss nan at ${from}\u001b[2J` };
      return { stream, matches: none ? [] : [match], next: none || from > 1 ? null : 4_000 };
    });
    expect((await logs('384', '--search', 'loss')).out).toBe(
      '2 stderr 7 | loss nan at 1\\x1b[2J\n2 stderr 4006 | loss nan at 4000\\x1b[2J\n',
    );
    const lines = (await logs('384', '--search', 'loss', '--json')).out.trim().split('\n');
    const place = { attemptId: idFor('att', 2), ordinal: 2, stream: 'stderr' };
    expect(JSON.parse(lines[1] ?? '')).toEqual({ ...place, line: 4_006, offset: 400_000, text: 'loss nan at 4000\u001b[2J' });
    const first = await logs('384', '--search', 'loss', '--attempt', '1');
    expect(first).toEqual({ code: 0, out: '', err: 'No line of 384 contains it.\n' });
    expect((await logs('384', '--search', 'loss', '--follow')).code).toBe(2);
  });

  test('for a reused step says where its log is', async () => {
    expect(await logs('prepare')).toEqual({
      code: 0,
      out: '',
      err: 'prepare was reused: its log is that of `cairn logs mini-0 prepare`.\n',
    });
  });

  test('for an unknown step suggests the nearest name', async () => {
    const { code, err } = await logs('385');
    expect(code).toBe(2);
    expect(err).toBe('error: mini-1 has no step "385"; did you mean "384"?\nhint: Its steps are prepare, 384.\n');
  });
});

describe('cairn tensorboard', () => {
  let api: StubApi;
  beforeEach(async () => {
    api = await startStubApi();
  });
  afterEach(() => api.close());

  test('tensorboard downloads the event files of each attempt at a stage', async () => {
    const out = await mkdtemp(join(tmpdir(), 'cairn-board-'));
    onTestFinished(() => rm(out, { recursive: true }));
    const attempt = idFor('att', 1);
    api.on('GET', '/v1/runs', () => ({ items: [runListItem.parse(aRun())], nextCursor: null, total: 1 }));
    api.on('GET', '/v1/runs/[^/]+', () => aRun({ stepViews: [aStep({ name: '384', kind: 'train' })] }));
    api.on('GET', '/v1/runs/[^/]+/steps/384/attempts', () => ({ items: [anAttempt({ id: attempt, ordinal: 2 })] }));
    api.on('GET', '/v1/attempts/[^/]+/tensorboard', () => ({
      items: [{ name: 'events.1', bytes: 12, modifiedAt: '2026-01-02T03:04:05.000Z' }],
    }));
    api.on('GET', '/v1/attempts/[^/]+/tensorboard/events.1', () => ({ curves: 1 }));
    const { code, out: printed } = await runTestCli(['tensorboard', 'mini-1', '--out', out], { url: api.url });
    expect([code, printed]).toEqual([0, `1 file in ${out}. View them with \`tensorboard --logdir ${out}\`.\n`]);
    expect(await readFile(join(out, '384/attempt-2/events.1'), 'utf8')).toBe('{"curves":1}');
  });

  test('tensorboard takes no more bytes of a file than the service listed', async () => {
    const out = await mkdtemp(join(tmpdir(), 'cairn-board-'));
    onTestFinished(() => rm(out, { recursive: true }));
    api.on('GET', '/v1/runs', () => ({ items: [runListItem.parse(aRun())], nextCursor: null, total: 1 }));
    api.on('GET', '/v1/runs/[^/]+', () => aRun({ stepViews: [aStep({ name: '384', kind: 'train' })] }));
    api.on('GET', '/v1/runs/[^/]+/steps/384/attempts', () => ({ items: [anAttempt()] }));
    api.on('GET', '/v1/attempts/[^/]+/tensorboard', () => ({
      items: [{ name: 'events.1', bytes: 12, modifiedAt: '2026-01-02T03:04:05.000Z' }],
    }));
    api.on('GET', '/v1/attempts/[^/]+/tensorboard/events.1', (_, response) => sendEndlessly(response));
    const { code, err } = await runTestCli(['tensorboard', 'mini-1', '--out', out], { url: api.url });
    expect(code).toBe(1);
    expect(err).toContain('events.1 of 384 has more than the 12 bytes that the service listed');
    const [file = ''] = (await readdir(out, { recursive: true })).filter((name) => name.endsWith('events.1'));
    expect((await stat(join(out, file))).size).toBeLessThanOrEqual(12);
  });

  test.each([
    ['a step', '..', 'events.1'],
    ['a step of folders', 'a/../../..', 'events.1'],
    ['a file', '384', '../../../events.1'],
    ['a hidden file', '384', '.bashrc'],
  ])('tensorboard writes nothing outside of its folder, whatever name a service sends: %s', async (_, step, name) => {
    const out = await mkdtemp(join(tmpdir(), 'cairn-board-'));
    onTestFinished(() => rm(out, { recursive: true }));
    api.on('GET', '/v1/runs', () => ({ items: [runListItem.parse(aRun())], nextCursor: null, total: 1 }));
    api.on('GET', '/v1/runs/[^/]+', () => aRun({ stepViews: [aStep({ name: step, kind: 'train' })] }));
    api.on('GET', '/v1/runs/[^/]+/steps/.*attempts', () => ({ items: [anAttempt()] }));
    api.on('GET', '/v1/attempts/[^/]+/tensorboard', () => ({ items: [{ name, bytes: 2, modifiedAt: '2026-01-02T03:04:05.000Z' }] }));
    api.on('GET', '/v1/attempts/[^/]+/tensorboard/.*', () => ({ curves: 1 }));
    const { code, err } = await runTestCli(['tensorboard', 'mini-1', '--out', join(out, 'a', 'b')], { url: api.url });
    expect(code).not.toBe(0);
    expect(err).toMatch(/not a valid name or id|lead out of|without a folder/);
    expect(await readdir(out)).toEqual([]);
  });
});
