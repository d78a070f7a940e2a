import { once } from 'node:events';
import { link, mkdir, readFile, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { createInternalClient } from '@cairn/client';
import { type FeatureFile, isCairnError, partFile, type ShardCommit } from '@cairn/contract';
import { createNpy, openParquet } from '@cairn/retrieval';
import { attemptToken, sha256, sha256File, sleep } from '@cairn/runtime';
import { type Phase, type PlayJob, played, playJob } from './play-job.ts';

/**
 * `play-workers.ts JOB`: the workers of a simulated extraction, without models and images. It makes the parts of shards, says `ready`,
 * waits for a line, and then claims, reports and commits at the rate of the job, and the last shards as fast as it can. Prints JSON.
 */
/** The files of a shard with so many rows. */
type Part = { name: FeatureFile; path: string; bytes: number; sha256: string }[];

/** Values of made features: rows of one block, again and again. */
const blockRows = 1024;

/** Rows of a shard. */
const rowsOf = (index: number, { ids, shards }: PlayJob): number =>
  Math.floor(((index + 1) * ids) / shards) - Math.floor((index * ids) / shards);

/**
 * Writes features and ids for each length that a shard has, as a worker does. Shards of one length have the same: nothing in the control
 * plane reads them, and 5 GB need not be written before the measurement.
 */
async function makeParts(settings: PlayJob): Promise<ReadonlyMap<number, Part>> {
  const { dim, folder, shards } = settings;
  const parquet = await openParquet();
  const block = new Float16Array(new Uint16Array(blockRows * dim).map((_, at) => 0x2c00 + (Math.imul(at, 0x9e3779b1) >>> 22)).buffer);
  const parts = new Map<number, Part>();
  await mkdir(folder, { recursive: true });
  for (const rows of new Set(Array.from({ length: shards }, (_, index) => rowsOf(index, settings)))) {
    const [features, ids] = [`${rows}.npy`, `${rows}.parquet`].map((name) => join(folder, name)) as [string, string];
    const npy = await createNpy(features, dim);
    for (let row = 0; row < rows; row += blockRows) await npy.append(block.subarray(0, Math.min(blockRows, rows - row) * dim));
    await npy.finish();
    const list = Array.from({ length: rows }, (_, row) => [row.toString(16).padStart(16, '0')]);
    await parquet.write({ path: ids, columns: { image_id: 'text' }, rows: list });
    parts.set(rows, [await described('embeddings', features), await described('metadata', ids)]);
  }
  await parquet.close();
  return parts;
}

async function described(name: FeatureFile, path: string): Promise<Part[number]> {
  return { name, path, bytes: (await stat(path)).size, sha256: await sha256File(path) };
}

/** Claims and commits on behalf of all attempts until `until` shards are claimed, or none is left. */
async function play(
  settings: PlayJob,
  parts: ReadonlyMap<number, Part>,
  state: { claimed: number },
  limit: { until: number; perMinute: number },
) {
  const measured: Phase = { shards: 0, lost: 0, seconds: 0, claims: [], commits: [] };
  const [began, before] = [performance.now(), state.claimed];
  const timed = async <T>(into: number[], call: () => Promise<T>): Promise<T> => {
    const at = performance.now();
    const value = await call();
    into.push(performance.now() - at);
    return value;
  };
  await Promise.all(
    settings.attempts.map(async (attempt) => {
      const client = clientOf(settings, attempt);
      while (state.claimed < limit.until) {
        state.claimed += 1;
        // Open loop: each shard has its time, whether or not the ones before were answered.
        const due = limit.perMinute === 0 ? 0 : began + ((state.claimed - before) * 60_000) / limit.perMinute;
        await sleep(Math.max(0, due - performance.now()));
        const { shard } = await timed(measured.claims, () => client.claimShard({ holding: [] }));
        if (shard === null) return;
        const commit: ShardCommit = {
          rows: shard.count,
          rejected: 0,
          files: await stage(settings, attempt, { index: shard.index, part: parts.get(shard.count) ?? [] }),
          idsSha256: sha256(String(shard.index)),
          seconds: { read: 1, decode: 2, infer: 3, write: 1 },
        };
        try {
          await timed(measured.commits, () => client.commitShard(shard.index, commit));
          measured.shards += 1;
        } catch (error) {
          // As a worker: it goes on with the next, and another commits this one.
          if (!isCairnError(error, 'lease_lost')) throw error;
          measured.lost += 1;
          state.claimed -= 1;
        }
      }
    }),
  );
  return { ...measured, seconds: (performance.now() - began) / 1000 };
}

/** The parts are where the worker would have stored them. */
async function stage(
  { storageUrl }: PlayJob,
  attempt: string,
  { index, part }: { index: number; part: Part },
): Promise<ShardCommit['files']> {
  return Promise.all(
    part.map(async ({ name: kind, path, bytes, sha256: digest }) => {
      const name = partFile(kind, index);
      const key = `staging/${attempt}/${name}`;
      const staged = join(fileURLToPath(storageUrl), key);
      await mkdir(dirname(staged), { recursive: true });
      await link(path, staged);
      return { name, key, bytes, sha256: digest };
    }),
  );
}

const clientOf = ({ internalUrl, serverKey }: PlayJob, attempt: string) =>
  createInternalClient({
    urls: [internalUrl],
    attemptId: attempt,
    generation: 1,
    token: attemptToken(serverKey, attempt, 1),
    signal: AbortSignal.timeout(1_800_000),
  });

/** Each worker's reports, as an agent sends them. */
async function report(settings: PlayJob, took: number[], signal: AbortSignal): Promise<void> {
  await Promise.all(
    settings.attempts.map(async (attempt, index) => {
      const client = clientOf(settings, attempt);
      await sleep((index * settings.reportSeconds * 1000) / settings.attempts.length, signal).catch(() => undefined);
      for (let seq = 1; !signal.aborted; seq += 1) {
        const at = performance.now();
        const progress = {
          type: 'progress' as const,
          done: seq,
          total: settings.ids,
          unit: 'images' as const,
          rate: 570,
          etaSeconds: null,
        };
        const point = { type: 'metrics' as const, name: 'images_per_second', steps: [seq], values: [570], times: [Date.now() / 1000] };
        await client.report({ seq, at: new Date().toISOString(), items: [{ ...progress, message: 'simulated' }, point] });
        took.push(performance.now() - at);
        await sleep(settings.reportSeconds * 1000, signal).catch(() => undefined);
      }
    }),
  );
}

const settings = playJob.parse(JSON.parse(await readFile(process.argv[2] ?? '', 'utf8')));
const parts = await makeParts(settings);
console.log('ready');
const lines = createInterface({ input: process.stdin });
await once(lines, 'line');
// It does not outlive the program that started it.
lines.once('close', () => process.exit(1));
const over = new AbortController();
const reports: number[] = [];
const reporting = report(settings, reports, over.signal);
const state = { claimed: 0 };
const paced = await play(settings, parts, state, { until: settings.paced, perMinute: settings.perMinute });
const free = await play(settings, parts, state, { until: settings.shards, perMinute: 0 });
over.abort();
await reporting;
console.log(JSON.stringify(played.parse({ paced, free, reports })));
process.exit(0);
