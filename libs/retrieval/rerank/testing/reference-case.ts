import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { readNpyHeader, readNpyRows } from '../../features/npy.ts';
import type { ModelFolders } from '../open-models.ts';
import type { RerankMode } from '../rerank-settings.ts';

const file = (name: string): string => fileURLToPath(new URL(`reference-case/${name}`, import.meta.url));

/**
 * Two models' feature sets (20 queries, 300 index images, 600 references) with what the functions of the reference (landmark_retrieval.py at
 * 684278e) made of them on a CPU in float32, at the settings of its submission: the merged similarities and `submission.csv` of each mode.
 */
export const referenceCase = {
  labels: file('labels.parquet'),
  models: ['M0', 'M1'].map((name): ModelFolders => {
    const set = (kind: string): string => file(`sets/${name}/${kind}`);
    return { name, weight: 1, queries: set('query'), index: set('index'), references: set('references'), whitening: null };
  }),
  /** Queries x index, both by sorted id. */
  async similarities(mode: RerankMode): Promise<{ values: Float32Array; columns: number }> {
    const header = await readNpyHeader(file(`${mode}.npy`));
    const values = new Float32Array(header.rows * header.dim);
    await readNpyRows(file(`${mode}.npy`), header, 0, values);
    return { values, columns: header.dim };
  },
  submission: (mode: RerankMode): Promise<string> => readFile(file(`${mode}.csv`), 'utf8'),
};
