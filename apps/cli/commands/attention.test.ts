import { idFor, type StubApi, startStubApi } from '@cairn/client/testing';
import type { AttentionItem, AttentionView } from '@cairn/contract';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { runTestCli } from '../testing/test-cli.ts';

let api: StubApi;
beforeEach(async () => {
  api = await startStubApi();
});
afterEach(() => api.close());

test('attention lists what needs a person, each with the command that helps', async () => {
  const run = { id: idFor('run', 1), name: 'mini-1' };
  const item = (kind: AttentionItem['kind'], id: string, over: Partial<AttentionItem> = {}): AttentionItem => ({
    ...{ kind, id, sentence: `About ${id}.`, since: '2026-01-02T03:04:05.000Z', run: null, step: null, attemptId: null },
    ...over,
  });
  const delivery = { trigger: 'landmarks', subject: 'pull request 8', reason: 'from a fork', source: null };
  const view: AttentionView = {
    items: [
      item('failed-run', run.id, { run }),
      item('sick-attempt', idFor('att', 1), { run, step: '384' }),
      item('held-delivery', idFor('hkd', 1), { delivery }),
      item('sick-node', 'gpu-3', { sentence: 'The node \u001b[2J failed.' }),
    ],
    total: 70,
  };
  api.on('GET', '/v1/attention', () => view);
  const cairn = (...args: string[]) => runTestCli(['attention', ...args], { url: api.url });
  expect(await cairn()).toEqual({
    code: 0,
    out: [
      `About ${run.id}. (5 min ago)`,
      '  cairn show mini-1',
      `About ${idFor('att', 1)}. (5 min ago)`,
      '  cairn logs mini-1 384 --follow',
      `About ${idFor('hkd', 1)}. (5 min ago)`,
      `  cairn trigger release landmarks ${idFor('hkd', 1)}`,
      'The node \\x1b[2J failed. (5 min ago)',
      '  cairn fleet',
      '',
    ].join('\n'),
    err: 'And 66 more.\n',
  });
  expect(JSON.parse((await cairn('--json')).out)).toEqual(view);
  api.on('GET', '/v1/attention', () => ({ items: [], total: 0 }));
  expect((await cairn()).out).toBe('Nothing needs you.\n');
});
