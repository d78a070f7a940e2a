import { z } from 'zod';
import { askPython, type PhaseContext } from '../phase.ts';
import { askWorker } from '../worker-program.ts';
import { rivals } from './machine.ts';

/** Queries and index of the Google Landmarks Dataset v2. */
const full = { queries: 1129, rows: 762_000, dim: 512, top: 100 };
const toy = { queries: 20, rows: 3000, dim: 64, top: 10 };

const ours = z.looseObject({ seconds: z.number() });
const theirs = z.looseObject({ differentSets: z.number(), mostScoreGap: z.number(), searchSeconds: z.number() });
/** Scores that differ by less than fp32 rounds a sum of 512 products are the same to torch. */
const sameScore = 512 * 2 ** -23;

/**
 * ONNX Runtime's CUDA provider multiplies fp32 in TF32 unless told otherwise, and its Node binding cannot tell it (it reads the
 * device's number alone). The bound on rounding that makes the search exact holds for fp32, so the driver's libraries are told.
 */
const exactProducts = { NVIDIA_TF32_OVERRIDE: '0' };

/** Exact search on the GPU beside torch's matmul and topk: the same images, where their scores differ at all. */
export async function search(context: PhaseContext): Promise<void> {
  const sizes = context.isDry ? toy : full;
  const flags = Object.entries(sizes).flatMap(([name, value]) => [`--${name}`, String(value)]);
  await askPython(context, rivals, ['vectors', context.folder, ...flags], 'drawing vectors');
  context.say(`drew ${sizes.queries} queries and ${sizes.rows} rows of ${sizes.dim}`);
  const device = context.isDry ? 'cpu' : 'cuda';
  const args = ['--folder', context.folder, '--top', String(sizes.top), '--device', device];
  const found = ours.parse(await askWorker(context, 'vector-search.ts', args, exactProducts));
  context.record('search', { ...found, ...sizes });
  context.say(`${found.seconds.toFixed(2)} s, the reading of the vectors included`);
  const compared = theirs.parse(await askPython(context, rivals, ['nearest', context.folder, ...flags], "torch's search"));
  context.record('torch', compared);
  context.say(`torch: ${compared.searchSeconds.toFixed(3)} s once loaded; ${compared.differentSets} queries with other images`);
  if (compared.mostScoreGap > sameScore) throw new Error(`neighbours differ from torch's by scores of up to ${compared.mostScoreGap}`);
}
