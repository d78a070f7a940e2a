import { globSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { preprocessing } from '@cairn/contract';
import { planExtraction } from '@cairn/dataset';
import { createDecodePool, openModel } from '@cairn/retrieval';
import { extractionJobs } from '../../extract/extraction-jobs.ts';
import { openDecodeWork } from './decode-work.ts';

/**
 * `speed-side.ts model|decode|extract ...`: one side of the benchmark of extraction, on some cores: the model alone on bytes in memory,
 * decoding alone, or the work of a worker's child from tars. Prints JSON: images, seconds, processor seconds, and peak MiB as it goes.
 */
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    folder: { type: 'string', default: '' },
    source: { type: 'string', default: '' },
    place: { type: 'string' },
    model: { type: 'string', default: '' },
    size: { type: 'string', default: '256' },
    batch: { type: 'string', default: '16' },
    images: { type: 'string', default: '256' },
    preprocessing: { type: 'string', default: 'cairn' },
    threads: { type: 'string', default: '1' },
  },
});
const way = preprocessing.parse(values.preprocessing);
const [imageSize, batch, images, threads] = [values.size, values.batch, values.images, values.threads].map(Number) as [
  number,
  number,
  number,
  number,
];

/** Measures `work` after a first run of it, in which code is compiled and caches are filled. */
async function measured(work: (images: number) => Promise<number>): Promise<void> {
  await work(2 * batch);
  const [began, cpu] = [performance.now(), process.cpuUsage()];
  const done = await work(images);
  const { user, system } = process.cpuUsage(cpu);
  const figures = { images: done, seconds: (performance.now() - began) / 1000, cpuSeconds: (user + system) / 1e6, residentMiB };
  console.log(JSON.stringify(figures));
}

/** Resident memory in MiB after each shard. */
const residentMiB: number[] = [];

async function model(): Promise<void> {
  const session = await openModel({ path: values.model, device: 'cpu', threads, imageSize });
  const bytes = new Uint8Array(batch * imageSize * imageSize * 3).map((_, index) => (index * 2654435761) >>> 24);
  await measured(async (count) => {
    for (let done = 0; done < count; done += batch) await session.run({ images: bytes, batch, imageSize, rows: batch });
    return Math.ceil(count / batch) * batch;
  });
}

async function decode(): Promise<void> {
  const files = await Promise.all(globSync(join(values.folder, 'images/*.jpg')).map((path) => readFile(path)));
  const pool = createDecodePool({ threads, imageSize, preprocessing: way });
  const run = openDecodeWork(pool, files);
  await measured(run);
}

/** As a child does: opens once, then shard after shard. */
async function extract(): Promise<void> {
  const list = join(values.folder, 'ids.txt');
  const listPath = join(values.folder, `plan-${process.pid}.parquet`);
  const places = values.place === undefined ? null : [values.place];
  const { images: all } = await planExtraction({ list, source: { kind: 'tars', root: values.source }, places, out: listPath });
  const jobs = extractionJobs(process.env);
  await jobs.open({
    ...{ kind: 'openExtraction', listPath, imageRoot: values.source, datasetRoots: places },
    ...{ device: 'cpu', threads, imageSize, preprocessing: way, batch, decodeConcurrency: threads },
    sets: [{ modelPath: values.model, outDir: join(values.folder, `features-${process.pid}`), earlier: null, extraction: 'bench' }],
    journals: join(values.folder, `journals-${process.pid}`),
  });
  const shardRows = Math.min(all, Math.max(batch, 512));
  let shard = 0;
  await measured(async (count) => {
    let done = 0;
    while (done < count) {
      const rows = Math.min(shardRows, count - done);
      const from = (shard * shardRows) % Math.max(1, all - rows + 1);
      const job = { kind: 'extractShard' as const, index: shard, from, count: rows, sets: [0], isOneByOne: false, rejects: [] };
      const [answer] = await jobs.extract(job, () => undefined);
      if (answer?.rejected !== 0) throw new Error(`${answer?.rejected} images were rejected`);
      residentMiB.push(Math.round(process.memoryUsage.rss() / 2 ** 20));
      done += rows;
      shard += 1;
    }
    return done;
  });
}

await { model, decode, extract }[positionals[0] as 'model' | 'decode' | 'extract']();
process.exit(0);
