import { createHash } from 'node:crypto';
import { link, mkdir, readFile, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { createInternalClient } from '@cairn/client';
import { partFile, type ShardCommit } from '@cairn/contract';
import { createNpy, openParquet, type Parquet } from '@cairn/retrieval';
import { attemptToken, sha256File, sleep } from '@cairn/runtime';
import { type Phase, type PlayJob, played, playJob } from './play-job.ts';

/**
 * `play-workers.ts JOB`: the workers of a simulated extraction, without models and images. It makes the parts of all shards, says `ready`,
 * waits for a line, and then claims, reports and commits at the rate of the job, and the last shards as fast as it can. Prints JSON.
 */
type Part = Pick<ShardCommit, 'rows' | 'idsSha256'> & { files: { name: string; bytes: number; sha256: string }[] };

/** Values of made features: rows of one block, again and again. */
const blockRows = 1024;

/** Writes the features and ids of each shard, as a worker does. */
async function makeParts({ ids, shards, dim, folder }: PlayJob): Promise<Part[]> {
  const parquet = await openParquet();
  const block = new Float16Array(new Uint16Array(blockRows * dim).map((_, at) => 0x2c00 + (Math.imul(at, 0x9e3779b1) >>> 22)).buffer);
  const parts: Part[] = [];
  for (let index = 0; index < shards; index += 1) {
    const from = Math.floor((index * ids) / shards);
    const rows = Math.floor(((index + 1) * ids) / shards) - from;
    const list = Array.from({ length: rows }, (_, row) => (from + row).toString(16).padStart(16, '0'));
    const digest = createHash('sha256');
    for (const id of list) digest.update(`${id}\n`);
    const files = [await writeFeatures(folder, index, { block, rows, dim }), await writeIds(folder, index, { parquet, list })];
    parts.push({ rows, idsSha256: digest.digest('hex'), files });
  }
  await parquet.close();
  return parts;
}

type Features = { block: Float16Array; rows: number; dim: number };

async function writeFeatures(folder: string, index: number, { block, rows, dim }: Features): Promise<Part['files'][number]> {
  const name = partFile('embeddings', index);
  await mkdir(dirname(join(folder, name)), { recursive: true });
  const npy = await createNpy(join(folder, name), dim);
  for (let row = 0; row < rows; row += blockRows) await npy.append(block.subarray(0, Math.min(blockRows, rows - row) * dim));
  await npy.finish();
  return described(folder, name);
}

async function writeIds(
  folder: string,
  index: number,
  { parquet, list }: { parquet: Parquet; list: string[] },
): Promise<Part['files'][number]> {
  const name = partFile('metadata', index);
  await mkdir(dirname(join(folder, name)), { recursive: true });
  await parquet.write({ path: join(folder, name), columns: { image_id: 'text' }, rows: list.map((id) => [id]) });
  return described(folder, name);
}

async function described(folder: string, name: string) {
  const path = join(folder, name);
  return { name, bytes: (await stat(path)).size, sha256: await sha256File(path) };
}

/** Claims and commits on behalf of all attempts until `until` shards are claimed, or none is left. */
async function play(settings: PlayJob, parts: readonly Part[], state: { claimed: number }, limit: { until: number; perMinute: number }) {
  const measured: Phase = { shards: 0, seconds: 0, claims: [], commits: [] };
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
        const { files, ...part } = parts[shard.index] as Part;
        const staged = await stage(settings, attempt, files);
        const commit: ShardCommit = { ...part, rejected: 0, files: staged, seconds: { read: 1, decode: 2, infer: 3, write: 1 } };
        await timed(measured.commits, () => client.commitShard(shard.index, commit));
        measured.shards += 1;
      }
    }),
  );
  return { ...measured, seconds: (performance.now() - began) / 1000 };
}

/** The parts are where the worker would have stored them. */
async function stage({ folder, storageUrl }: PlayJob, attempt: string, files: Part['files']): Promise<ShardCommit['files']> {
  return Promise.all(
    files.map(async (file) => {
      const key = `staging/${attempt}/${file.name}`;
      const path = join(fileURLToPath(storageUrl), key);
      await mkdir(dirname(path), { recursive: true });
      await link(join(folder, file.name), path);
      return { ...file, key };
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
for await (const _ of lines) break;
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
