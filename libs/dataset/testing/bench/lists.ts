import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { isolatedPython } from '@cairn/runtime';
import { generateMetadata, scaledCounts } from './generate-metadata.ts';
import { measure, report } from './measure.ts';

/**
 * The six lists of metadata as large as GLDv2's (4.13 million rows, 203,094 landmarks), by `cairn lists` and by a straightforward Python
 * program with dicts and the csv module (../reference_lists.py), which makes the same rows and the same manifest. One after the other, in
 * turns, so that both see the same machine.
 */
const { values: options } = parseArgs({
  options: {
    scale: { type: 'string', default: '1' },
    rounds: { type: 'string', default: '1' },
    /** Where the metadata is made, or lies from a run before; a temporary folder, removed at the end, unless given. */
    data: { type: 'string' },
    memory: { type: 'string' },
  },
});
const names = ['clean', 'c2x', 'full', 'index_train', 'test', 'all'];
const cli = fileURLToPath(new URL('../../../../apps/cli/main.ts', import.meta.url));
const rival = fileURLToPath(new URL('../reference_lists.py', import.meta.url));
const python = process.env.CAIRN_PYTHON ?? 'python3';

const work = await mkdtemp(join(tmpdir(), 'cairn-bench-lists-'));
try {
  const data = options.data ?? join(work, 'data');
  const [metadata, countries] = [join(data, 'metadata'), join(data, 'countries')];
  if (!existsSync(metadata)) {
    console.log(`Making metadata of ${options.scale} times the size of GLDv2 ...`);
    await generateMetadata(data, scaledCounts(Number(options.scale)));
  }
  for (let round = 1; round <= Number(options.rounds); round += 1) {
    const [ours, theirs] = [join(work, `cairn-${round}`), join(work, `python-${round}`)];
    const from = ['--metadata', metadata, '--countries', countries];
    const memory = options.memory === undefined ? [] : ['--memory', options.memory];
    const cairn = await measure(process.execPath, [cli, 'lists', ...from, '--out', ours, '--lists', names.join(','), ...memory]);
    const plain = await measure(python, isolatedPython(rival, [...from, '--out', theirs]));
    await compare(ours, theirs);
    report({ 'cairn lists': cairn, 'plain Python': plain });
    await Promise.all([ours, theirs].map((folder) => rm(folder, { recursive: true })));
  }
} finally {
  await rm(work, { recursive: true, force: true });
}

/** Both made the same number of rows, labels and images. That they are the same rows is what the tests show. */
async function compare(ours: string, theirs: string): Promise<void> {
  const counts = async (folder: string): Promise<string[]> => {
    const { lists } = JSON.parse(await readFile(join(folder, 'manifest.json'), 'utf8'));
    return names.map((name) => `${name}: ${lists[name].rows} rows, ${lists[name].labels} labels, ${lists[name].images} images`);
  };
  const [a, b] = [await counts(ours), await counts(theirs)];
  console.log(a.join('\n'));
  if (a.join() !== b.join()) throw new Error(`the two differ:\n${b.join('\n')}`);
}
