import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { isolatedPython } from '@cairn/runtime';
import { openDatabase, pathLiteral } from '../../duckdb.ts';
import { packTars } from '../../tars/pack-tars.ts';
import { measure, report } from './measure.ts';

/**
 * Where each image lies in tars of as many members as GLDv2's (the images are smaller, since their bytes are skipped), by `cairn tars
 * index` and by Python's tarfile: once by the headers alone, once with the md5 of every byte. On the same tars, in turns; both find
 * the same places.
 */
const { values: options } = parseArgs({
  options: {
    tars: { type: 'string', default: '20' },
    images: { type: 'string', default: '8266' },
    bytes: { type: 'string', default: '4096' },
    rounds: { type: 'string', default: '1' },
  },
});
const cli = fileURLToPath(new URL('../../../../apps/cli/main.ts', import.meta.url));
const rival = fileURLToPath(new URL('../index_tars.py', import.meta.url));
const python = process.env.CAIRN_PYTHON ?? 'python3';

const work = await mkdtemp(join(tmpdir(), 'cairn-bench-tars-'));
try {
  const root = join(work, 'tars');
  const count = Number(options.tars);
  const content = Buffer.alloc(Number(options.bytes), 'x');
  const images = Array.from({ length: count * Number(options.images) }, (_, n) => ({
    id: n.toString(16).padStart(16, '0'),
    read: async () => content,
  }));
  console.log(`Packing ${images.length} images into ${count} tars ...`);
  await packTars(root, 'train', images, count);
  for (let round = 1; round <= Number(options.rounds); round += 1) {
    for (const withMd5 of [false, true]) {
      const [ours, theirs] = [join(work, 'cairn'), join(work, 'python.csv')];
      const cairn = await measure(process.execPath, [cli, 'tars', 'index', root, '--out', ours, ...(withMd5 ? [] : ['--no-md5'])]);
      const tarfile = await measure(python, isolatedPython(rival, ['--root', root, '--out', theirs, ...(withMd5 ? ['--md5'] : [])]));
      await compare(join(ours, 'train.parquet'), theirs);
      console.log(withMd5 ? '\nWith the md5 of every byte:' : '\nHeaders alone:');
      report({ 'cairn tars index': cairn, "Python's tarfile": tarfile });
      await Promise.all([ours, theirs].map((path) => rm(path, { recursive: true })));
    }
  }
} finally {
  await rm(work, { recursive: true, force: true });
}

async function compare(ours: string, theirs: string): Promise<void> {
  const database = await openDatabase();
  const rows = await database.rows(
    `select image_id || ',' || tar || ',' || "offset" || ',' || size as line from read_parquet(${pathLiteral(ours)})`,
  );
  database.close();
  const lines = (await readFile(theirs, 'utf8')).trimEnd().split('\n');
  const differing = lines.findIndex((line, n) => rows[n]?.line !== line);
  if (rows.length !== lines.length || differing !== -1) throw new Error(`the two differ in line ${differing + 1}: ${lines[differing]}`);
}
