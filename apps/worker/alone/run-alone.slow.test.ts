import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';
import { type AloneEvent, type AloneJob, aloneEvent } from '@cairn/contract';
import { packTars } from '@cairn/dataset';
import { openStore, readManifest } from '@cairn/storage';
import { bareEnvironment, startS3, type TestS3 } from '@cairn/testing';
import { afterAll, beforeAll, expect, onTestFinished, test, vi } from 'vitest';
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
async function killedAfter(job: AloneJob, images: number, env: NodeJS.ProcessEnv = {}): Promise<void> {
  const child = spawn(process.execPath, [join(import.meta.dirname, '../main.ts'), 'extract'], {
    env: { ...bareEnvironment(), ...s3.env, ...env },
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

/** Runs a job twice as `cairn extract` does, with a small file system at `mounted`, which gets more room in between. Returns both last events. */
async function onFullDisk(
  job: AloneJob,
  { mounted, size, kept, env = {} }: { mounted: string; size: string; kept: string; env?: NodeJS.ProcessEnv },
): Promise<AloneEvent[]> {
  // A namespace of mounts: the file system ends with its last process, whatever happens.
  const script = `mount -t tmpfs -o size=$6 none "$1" && cd "$1" && "$2" "$3" extract < "$4"; echo; mount -o remount,size=64m "$1" &&
    "$2" "$3" extract < "$4"; cp -r "$1" "$5"`;
  const input = join(world.folder, 'job.json');
  await writeFile(input, JSON.stringify(job));
  const program = ['sh', '-c', script, 'sh', mounted, process.execPath, join(import.meta.dirname, '../main.ts'), input, kept, size];
  const child = spawn('unshare', ['--map-root-user', '--mount', ...program], {
    env: { ...bareEnvironment(), ...env },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const exited = once(child, 'exit');
  const ends: AloneEvent[] = [];
  for await (const line of createInterface({ input: child.stdout })) {
    const event = line === '' ? null : aloneEvent.parse(JSON.parse(line));
    if (event?.type === 'done' || event?.type === 'failed') ends.push(event);
  }
  expect(await exited).toEqual([0, null]);
  return ends;
}

test('a full disk is one clear error, and the same command goes on when there is room', async () => {
  const { folder, jobOf, run } = world;
  const whole = jobOf('roomy');
  await run(whole);
  const mounted = join(folder, 'small');
  await mkdir(mounted);
  const job = jobOf('full', { out: { store: pathToFileURL(mounted).href, prefix: 'full' } });
  const [full, done] = await onFullDisk(job, { mounted, size: '96k', kept: join(folder, 'kept') });
  expect(full).toMatchObject({ type: 'failed', code: 'storage_full', message: expect.stringContaining(`No space is left in ${mounted}`) });
  expect(done).toMatchObject({ type: 'done', result: { images: aloneImages, rejected: 1 } });
  if (done?.type === 'done') expect(done.result.resumed).toBeGreaterThan(0);
  const kept = { ...job, out: { store: pathToFileURL(join(folder, 'kept')).href, prefix: 'full' } };
  expect(await setWithoutTimes(kept)).toEqual(await setWithoutTimes(whole));
});

/** Other libraries, and Node's cache of compiled code, have files of their own there. */
const ownFolders = async (folder: string): Promise<string[]> => (await readdir(folder)).filter((name) => name.startsWith('cairn-extract-'));

test('a full temporary folder is one clear error, and the same command goes on when there is room', async () => {
  const { folder, jobOf } = world;
  const mounted = join(folder, 'temporary');
  await mkdir(mounted);
  const [full, done] = await onFullDisk(jobOf('tempted'), {
    mounted,
    size: '8k',
    kept: join(folder, 'kept-temporary'),
    env: { TMPDIR: mounted },
  });
  expect(full).toMatchObject({ type: 'failed', code: 'storage_full', message: expect.stringMatching(/[Nn]o space (is )?left/) });
  expect(done).toMatchObject({ type: 'done', result: { images: aloneImages, rejected: 1 } });
  // Of its own folder nothing is left, after the failure either.
  expect(await ownFolders(join(folder, 'kept-temporary'))).toEqual([]);
});

test('what a killed command left in the temporary folder is removed by the next one', async () => {
  const { folder, jobOf } = world;
  const temporary = join(folder, 'leftovers');
  await mkdir(temporary);
  await killedAfter(jobOf('left'), 5, { TMPDIR: temporary });
  expect(await ownFolders(temporary)).toEqual([expect.stringMatching(/^cairn-extract-/)]);
  vi.stubEnv('TMPDIR', temporary);
  // Before the next file is loaded, which makes its folders at once.
  onTestFinished(() => void vi.unstubAllEnvs());
  await world.run(jobOf('left'));
  expect(await ownFolders(temporary)).toEqual([]);
});
