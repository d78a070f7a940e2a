import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { type AloneJob, aloneEvent } from '@cairn/contract';
import { packTars } from '@cairn/dataset';
import { openStore, readManifest } from '@cairn/storage';
import { bareEnvironment, startS3, type TestS3 } from '@cairn/testing';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { aloneBroken, aloneImages, openAloneWorld, setWithoutTimes } from '../testing/alone.ts';
import { pngOf } from '../testing/images.ts';

vi.setConfig({ testTimeout: 600_000 });

let world: Awaited<ReturnType<typeof openAloneWorld>>;
let s3: TestS3;
beforeAll(async () => {
  world = await openAloneWorld();
  s3 = await startS3();
});
afterAll(async () => {
  await s3.stop();
  world.close();
});

/** Runs the job as `cairn extract` does, and kills it when this many images are done. */
async function killedAfter(job: AloneJob, images: number): Promise<void> {
  const child = spawn(process.execPath, [join(import.meta.dirname, '../main.ts'), 'extract'], {
    env: { ...bareEnvironment(), ...s3.env },
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const exited = once(child, 'exit');
  child.stdin.end(JSON.stringify(job));
  for await (const line of createInterface({ input: child.stdout })) {
    const event = aloneEvent.parse(JSON.parse(line));
    if (event.type === 'progress' && event.done >= images) child.kill('SIGKILL');
  }
  expect(await exited).toEqual([null, 'SIGKILL']);
}

test('killed in the middle, the same command continues, and ends in the same set, from tars in a bucket into a bucket', async () => {
  for (const [name, value] of Object.entries(s3.env)) vi.stubEnv(name, value);
  const { folder, ids, jobOf, run } = world;
  const images = ids.map((id, index) => ({ id, read: async () => (index === aloneBroken ? Buffer.from('no image') : pngOf(index)) }));
  const bucket = openStore(s3.url('glr'));
  for (const path of await packTars(join(folder, 'tars'), 'index', images, 2)) await bucket.put(path, { file: join(folder, 'tars', path) });
  const fromTars: Partial<AloneJob> = { source: { kind: 'tars', root: `s3://${s3.bucket}/glr` }, places: [s3.url('glr')] };

  const whole = jobOf('whole', { ...fromTars, devices: [null, null] });
  expect((await run(whole)).result).toMatchObject({ images: aloneImages, rows: aloneImages - 1, rejected: 1 });
  const killed = jobOf('killed', { ...fromTars, out: { store: s3.url('sets'), prefix: 'killed' } });
  await killedAfter(killed, 9);
  await expect(readManifest(openStore(s3.url('sets')), 'killed')).rejects.toMatchObject({ code: 'not_found' });
  const { result } = await run(killed);
  expect(result.resumed).toBeGreaterThanOrEqual(1);
  expect(result.resumed).toBeLessThan(6);
  expect(await setWithoutTimes(killed)).toEqual(await setWithoutTimes(whole));
  const left = await Array.fromAsync(openStore(s3.url('sets')).list('killed'), ({ key }) => key);
  expect(left.filter((key) => key.includes('/parts/'))).toEqual([]);
});
