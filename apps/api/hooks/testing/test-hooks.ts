import { createHmac, randomUUID } from 'node:crypto';
import { hookAnswer, type triggerRequest } from '@cairn/contract';
import { smallRecipe } from '@cairn/engine/testing';
import { expect } from 'vitest';
import type { z } from 'zod';
import type { TestApi } from '../../testing/test-api.ts';

export type Trigger = { name: string; secret: string };

export const commit = 'c'.repeat(40);
export const push = (change: object = {}): string =>
  JSON.stringify({
    ref: 'refs/heads/main',
    before: 'b'.repeat(40),
    after: commit,
    repository: { full_name: 'example/landmarks' },
    head_commit: { id: commit, url: 'https://github.com/example/landmarks/commit/c' },
    commits: [{ added: [], modified: ['recipes/größe.yaml'], removed: [], message: 'Ändere die Größe 🗻\u2028\ud83d\ude00' }],
    // As in a real push, no two bodies are the same.
    pushed_at: randomUUID(),
    ...change,
  });
export const pull = (fork: boolean, { number = 7, updatedAt }: { number?: number; updatedAt?: string } = {}): string =>
  JSON.stringify({
    action: 'opened',
    number,
    repository: { id: 1, full_name: 'example/landmarks' },
    pull_request: {
      updated_at: updatedAt,
      html_url: `https://github.com/example/landmarks/pull/7?${randomUUID()}`,
      head: { sha: commit, ref: 'topic', repo: { id: fork ? 2 : 1, full_name: 'someone/landmarks' } },
      base: { ref: 'main' },
      labels: [],
    },
  });

export const githubHeaders = (secret: string, body: string | Buffer, { id = randomUUID() as string, event = 'push' } = {}) => ({
  'content-type': 'application/json',
  'x-github-event': event,
  'x-github-delivery': id,
  'x-hub-signature-256': `sha256=${createHmac('sha256', secret).update(body).digest('hex')}`,
});

/** Triggers of an api under test, and deliveries to them. */
export function hooksOf({ call, api, prisma }: Pick<TestApi, 'call' | 'api' | 'prisma'>) {
  let count = 0;
  async function addTrigger(change: Partial<z.input<typeof triggerRequest>> = {}): Promise<Trigger> {
    count += 1;
    const body = { name: `trigger-${count}`, provider: 'github', run: { recipe: smallRecipe, dataset: 'toy' }, ...change };
    const { status, json, text } = await call('submitter', 'POST', '/v1/triggers', { body });
    expect(status, text).toBe(201);
    return json;
  }

  async function deliver({ name }: Trigger, body: string | Buffer, headers: Record<string, string>) {
    const { statusCode, body: text } = await api.inject({ method: 'POST', url: `/v1/hooks/${name}`, payload: body, headers });
    const json = JSON.parse(text);
    return {
      status: statusCode,
      json,
      ...(statusCode < 300 ? hookAnswer.parse(json) : { outcome: json.code, reason: json.detail, runId: null }),
    };
  }
  const deliverSigned = (trigger: Trigger, body: string, options: { id?: string; event?: string } = {}) =>
    deliver(trigger, body, githubHeaders(trigger.secret, body, options));
  const rowsOf = ({ name }: Trigger) => prisma.hookDelivery.findMany({ where: { trigger: { name } }, orderBy: { id: 'asc' } });
  return { addTrigger, deliver, deliverSigned, rowsOf };
}
