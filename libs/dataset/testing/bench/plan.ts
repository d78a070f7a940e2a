import { mkdir, stat, truncate, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { parseArgs } from 'node:util';
import { count, literal, openDatabase } from '../../duckdb.ts';
import { imageSplits } from '../../folders.ts';
import { planExtraction } from '../../index.ts';
import { entryOf, type IndexedTar, partOf, tarIndexFolder } from '../../tars/write-tar-index.ts';

/**
 * `plan.ts make|plan --folder F [--rows N] [--tars N]`: the plan of an extraction at full size. `make` draws up the indexes of tars that have
 * no bytes (sparse files, 970 MB each in name), and a list of their images in another order; `plan` plans the extraction of that list.
 * Prints JSON: the seconds, and the peak of the process in MiB.
 */
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    folder: { type: 'string', default: '' },
    rows: { type: 'string', default: '4900000' },
    tars: { type: 'string', default: '620' },
  },
});
const { folder } = values;
const [root, list, out] = ['tars', 'list.parquet', 'plan.parquet'].map((name) => join(folder, name)) as [string, string, string];

/** As GLDv2 divides them: 500 tars of train, 100 of index and 20 of test. */
const share = { train: 500 / 620, index: 100 / 620, test: 20 / 620 } as const;
/** Bytes from one image of a tar to the next: its header, its bytes and their padding. */
const stride = 122_880;

async function make(rows: number, tars: number): Promise<void> {
  const database = await openDatabase({ memoryLimitMiB: 2048 });
  const index = tarIndexFolder(root);
  const perSplit = imageSplits.map((split) => ({ split, tars: Math.max(1, Math.round(tars * share[split])) }));
  const total = perSplit.reduce((sum, { tars: some }) => sum + some, 0);
  const names = perSplit.flatMap(({ split, tars: some }) =>
    Array.from({ length: some }, (_, number) => `${split}/images_${String(number).padStart(3, '0')}.tar`),
  );
  for (const { split } of perSplit) {
    await mkdir(join(root, split), { recursive: true });
    await mkdir(dirname(partOf(index, `${split}/images_000.tar`)), { recursive: true });
  }
  for (const [number, tar] of names.entries()) {
    const [from, to] = [number, number + 1].map((n) => Math.floor((n * rows) / total)) as [number, number];
    const members = `select substr(md5(i::varchar), 1, 16) as image_id, ${literal(tar)} as tar, (i - ${from}) * ${stride} + 512 as "offset",
        60000 + i % 60000 as size from range(${from}, ${to}) r(i)`;
    await database.run(`copy (${members}) to ${literal(partOf(index, tar))} (format parquet, compression zstd)`);
    const path = join(root, tar);
    await writeFile(path, '');
    await truncate(path, (to - from) * stride + 1024);
    const { size: bytes, mtimeMs: changedAtMs } = await stat(path);
    const entry: IndexedTar = { tar, bytes, changedAtMs, md5: null, md5Checked: false, images: to - from, others: 0, unindexed: 0 };
    await writeFile(entryOf(index, tar), JSON.stringify(entry));
  }
  const ids = `select substr(md5(i::varchar), 1, 16) as image_id from range(${rows}) r(i) order by image_id`;
  await database.run(`copy (${ids}) to ${literal(list)} (format parquet, compression zstd)`);
  database.close();
  console.log(JSON.stringify({ tars: total, rows }));
}

async function plan(): Promise<void> {
  const began = performance.now();
  const { images } = await planExtraction({ list, source: { kind: 'tars', root }, places: null, out });
  const seconds = (performance.now() - began) / 1000;
  const peakMiB = process.resourceUsage().maxRSS / 1024;
  const { user, system } = process.cpuUsage();
  const database = await openDatabase();
  // Each tar is one run of the plan: its images follow each other.
  const [runs] = await database.rows(
    `select count(*) as n from (select tar, lag(tar) over (order by image_number) as before from read_parquet(${literal(out)})) where tar is distinct from before`,
  );
  database.close();
  console.log(JSON.stringify({ images, seconds, cpuSeconds: (user + system) / 1e6, peakMiB, runs: count(runs?.n), path: out }));
}

if (positionals[0] === 'make') await make(Number(values.rows), Number(values.tars));
else await plan();
