import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { localAgentEnvironment } from '@cairn/runtime';
import { plainPng } from '@cairn/testing';
import { expect, onTestFinished, test } from 'vitest';
import { ChildKilled, createChildPool } from './child-pool.ts';
import { type ComputeJobOf, pictureAnswer } from './messages.ts';

test('a child that holds too much memory or is no longer waited for is killed, and the next job has another', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'cairn-children-'));
  const env = localAgentEnvironment(process.env, () => false);
  const small = createChildPool({ size: 1, maxMemoryBytes: 1_000_000, env });
  const pool = createChildPool({ size: 1, maxMemoryBytes: 1_500_000_000, env });
  onTestFinished(async () => {
    await small.close();
    await pool.close();
    await rm(folder, { recursive: true });
  });
  const path = 'index/a/b/c/abc.jpg';
  await mkdir(dirname(join(folder, path)), { recursive: true });
  await writeFile(join(folder, path), plainPng({ width: 40, height: 30 }));
  const place = { root: folder, roots: [folder], candidates: [{ path }] };
  const job: ComputeJobOf<'picture'> = { kind: 'picture', ...place, maxSide: 256, timeoutMs: 20_000 };
  const limits = { timeoutMs: 60_000 };

  const killed = await small.ask(job, pictureAnswer, limits).catch((error: unknown) => error);
  expect(killed).toBeInstanceOf(ChildKilled);
  expect(String(killed)).toContain('it needs more than 1 MB of memory');

  const gone = new AbortController();
  const first = pool.ask(job, pictureAnswer, { ...limits, signal: gone.signal });
  const second = pool.ask(job, pictureAnswer, limits);
  gone.abort(new Error('the client is gone'));
  await expect(first).rejects.toThrow('the client is gone');
  expect((await second)?.subarray(0, 2)).toEqual(Buffer.from('ffd8', 'hex'));
  expect(await pool.ask({ ...job, candidates: [{ path: 'index/a/b/c/none.jpg' }] }, pictureAnswer, limits)).toBeNull();
});
