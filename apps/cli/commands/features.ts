import { rename } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { join, resolve } from 'node:path';
import { CairnError } from '@cairn/contract';
import type { IndexLibrary } from '@cairn/retrieval';
import { z } from 'zod';
import type { Registrar, Session } from '../cli.ts';
import { withGivenFiles } from '../given-files.ts';
import { runPython } from '../imports/upload-weights.ts';
import { createStagedProgress } from '../output/live-screen.ts';
import { formatDuration, plural } from '../output/units.ts';
import { wholeNumber } from './options.ts';

export type LibraryOptions = { faiss?: true; usearch?: true };
type ExportOptions = LibraryOptions & { npy?: true; lance?: true; threads?: number; out: string };

/** The options of index files, here and of `cairn search`. */
export const libraryOptions = {
  faiss: ['--faiss', 'writes the searched features as a faiss IndexFlatIP (exact), and their ids by row, ids.parquet'],
  usearch: ['--usearch', 'writes them as an index of usearch (HNSW, approximate), built in memory, and the ids'],
} as const;

export function librariesOf({ faiss, usearch }: LibraryOptions): IndexLibrary[] {
  return [...(faiss ? (['faiss'] as const) : []), ...(usearch ? (['usearch'] as const) : [])];
}

export function addFeatures({ program, action }: Registrar): void {
  program
    .command('features')
    .description('works with feature sets, without the service')
    .command('export <folder>')
    .description('writes a feature set as index files of other libraries, with the ids of their rows and a manifest')
    .option(...libraryOptions.faiss)
    .option(...libraryOptions.usearch)
    .option('--npy', 'writes them as one matrix for NumPy, in the type of the features, and the ids')
    .option('--lance', 'writes them as a Lance dataset of image_id and vector; needs pylance in the Python of CAIRN_PYTHON')
    .option('--threads <count>', 'CPU threads (default: as many as there are cores)', wholeNumber(1, 1024))
    .requiredOption(
      '--out <folder>',
      'the folder to create: index.faiss, index.usearch, index.npy, index.lance, ids.parquet and manifest.json',
    )
    .action(action(exportFeatures));
}

/** What docker/trainer's export_lance prints. */
const lanceAnswer = z.object({ rows: z.number().int(), dim: z.number().int(), version: z.string() });

async function exportFeatures(session: Session, folder: string, options: ExportOptions): Promise<undefined> {
  const { ui, signal } = session;
  const { makingBeside, refuseTaken, requireFolder } = await import('@cairn/dataset');
  const { exportIndexes, openParquet } = await import('@cairn/retrieval');
  const [dir, out] = [resolve(folder), resolve(options.out)];
  const libraries = [...librariesOf(options), ...(['npy', 'lance'] as const).filter((library) => options[library])];
  if (libraries.length === 0) {
    throw new CairnError('invalid_request', 'no kind of index is named', {
      details: { remedy: 'Add --faiss, --usearch, --npy or --lance, or several of them.' },
    });
  }
  const writeLance = async (given: { vectors: string; ids: string; out: string }): Promise<void> => {
    const args = Object.entries(given).flatMap(([name, path]) => [`--${name}`, path]);
    await runPython(session, 'cairn_trainer.export_lance', args, lanceAnswer);
  };
  await refuseTaken(out, 'the index files');
  await requireFolder('The feature set', dir);
  const began = performance.now();
  const parquet = await openParquet();
  const progress = createStagedProgress(ui);
  const { threads = availableParallelism() } = options;
  try {
    const manifest = await makingBeside(
      out,
      async (making) => {
        const made = join(making, 'indexes');
        const given = { parquet, dir, libraries, out: made, threads, writeLance, signal, onProgress: progress.show };
        const written = await withGivenFiles(() => exportIndexes(given));
        await rename(made, out);
        return written;
      },
      signal,
    ).finally(progress.close);
    ui.json({ manifest });
    for (const { file, kind, dim } of manifest.indexFiles.indexes)
      ui.line(`${file}: ${kind}, ${plural(manifest.gallery.rows, 'vector')} of ${dim} values`);
    ui.line(`Written in ${formatDuration((performance.now() - began) / 1000)}.  ${ui.style.dim(out)}`);
    return undefined;
  } finally {
    await parquet.close();
  }
}
