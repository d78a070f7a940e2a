import { globSync } from 'node:fs';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { sleep } from '@cairn/runtime';
import { z } from 'zod';
import { agreement, drawModel, exportModel, weightsFlags } from '../exported-model.ts';
import { askPython, type PhaseContext } from '../phase.ts';
import { runWell } from '../run-bounded.ts';
import { askNvidia, rivals } from './machine.ts';

const full = { shards: 100, shardRows: 64, batch: 32, runs: 60, loaders: 14, loaderRows: 2560 } as const;
const toy = { shards: 3, shardRows: 8, batch: 4, runs: 3, loaders: 0, loaderRows: 16 } as const;
/**
 * The cosine to PyTorch in fp32, over the images' median and at the least. At full size the images of 640 x 480 grow on one side,
 * which both do alike, so what is left is fp16; toys shrink, which libvips and Pillow do within half a grey level of each other.
 */
const wantedCosine = { full: { median: 0.9995, least: 0.998 }, toy: { median: 0.998, least: 0.997 } };

/** What a GPU's memory in use may grow by after the first quarter of the shards. */
const flatMib = 128;

const raw = z.object({ imagesPerSecond: z.number(), places: z.record(z.string(), z.number()) });
const extraction = z.object({
  rows: z.number(),
  rejected: z.number(),
  secondsToFirst: z.number(),
  committedAt: z.array(z.number()),
  features: z.string(),
  gpus: z.array(z.string()),
});

/**
 * The worker with its children on the CUDA provider: where nodes run, how close features are to PyTorch, images a second from files
 * and from a tar beside the model alone and beside a DataLoader, and whether the GPU's memory stays flat over many shards.
 */
export async function extract(context: PhaseContext): Promise<void> {
  const sizes = context.isDry ? toy : full;
  const device = context.isDry ? 'cpu' : 'cuda';
  const drawn = await drawModel(context);
  const { path: modelPath } = await exportModel(context, drawn, context.isDry ? 'fp32' : 'fp16');
  const { imageSize, backbone } = drawn;
  context.record('model', { backbone, imageSize, batch: sizes.batch });

  await context.attempt('the model alone', async () => {
    const numbers = ['--size', String(imageSize), '--batch', String(sizes.batch), '--runs', String(sizes.runs)];
    const found = raw.parse(await askWorker(context, 'raw-model.ts', ['--model', modelPath, '--device', device, ...numbers]));
    context.record('raw', found);
    context.say(`the model alone: ${found.imagesPerSecond.toFixed(1)} images/s, nodes on ${JSON.stringify(found.places)}`);
  });

  const rows = sizes.shards * sizes.shardRows;
  await askPython(context, rivals, ['lists', drawn.images, context.folder, '--rows', String(rows)], 'writing lists');
  for (const source of ['files', 'tars'] as const) {
    await context.attempt(`extraction from ${source}`, async () => {
      const { features, ...figures } = await extractOnce(context, { ...sizes, modelPath, imageSize, source, gpus: context.isDry ? 0 : 1 });
      context.record(source, figures);
      const { mib, growth } = figures.memory;
      const memory = mib.length === 0 ? '' : `, ${Math.max(...mib)} MiB of the GPU, which grew by ${growth}`;
      context.say(`from ${source}: ${figures.imagesPerSecond.toFixed(1)} images/s${memory}`);
      if (!context.isDry && figures.gpus.length === 0) throw new Error("the agent's log does not describe the GPUs");
      await context.attempt(`memory of the GPU, ${source}`, async () => {
        if (growth > flatMib) throw new Error(`the GPU's memory grew by ${growth} MiB over the shards`);
      });
      const [part] = globSync(join(features, '*.npy')).sort();
      if (source === 'tars' || part === undefined) return;
      const args = ['cosines', drawn.images, part, ...weightsFlags(drawn)];
      const found = agreement.parse(await askPython(context, rivals, args, 'comparing features'));
      context.record('cosines', found);
      context.say(`cosine to PyTorch: median ${found.median.toFixed(6)}, least ${found.least.toFixed(6)}`);
      const wanted = wantedCosine[context.isDry ? 'toy' : 'full'];
      if (!(found.median >= wanted.median && found.least >= wanted.least)) throw new Error('features differ from PyTorch');
    });
  }

  await context.attempt('a DataLoader', async () => {
    const numbers = { size: imageSize, batch: sizes.batch, workers: sizes.loaders, rows: sizes.loaderRows };
    const flags = Object.entries(numbers).flatMap(([name, value]) => [`--${name}`, String(value)]);
    const args = ['loader', drawn.images, '--backbone', backbone, '--weights', drawn.weights.path, ...flags];
    const found = z.looseObject({ imagesPerSecond: z.number() }).parse(await askPython(context, rivals, args, 'a DataLoader'));
    context.record('loader', found);
    context.say(`a DataLoader: ${found.imagesPerSecond.toFixed(1)} images/s`);
  });
}

type Job = {
  shards: number;
  shardRows: number;
  batch: number;
  modelPath: string;
  imageSize: number;
  source: 'files' | 'tars';
  gpus: number;
};

async function extractOnce(context: PhaseContext, { source, ...job }: Job) {
  const folder = join(context.folder, `extraction-${source}`);
  await mkdir(folder);
  const path = join(folder, 'job.json');
  const listPath = join(context.folder, `${source}.parquet`);
  await writeFile(path, JSON.stringify({ ...job, folder, listPath, imageRoot: context.folder, embeddingDim: 512 }));
  const over = new AbortController();
  const memory = job.gpus === 0 ? Promise.resolve([]) : sampleMemory(context, over.signal).catch(() => []);
  try {
    const found = extraction.parse(await askWorker(context, 'extraction.ts', [path]));
    over.abort();
    const samples = await memory;
    const last = found.committedAt.at(-1) ?? 0;
    await rm(join(folder, 'work'), { recursive: true, force: true });
    return {
      imagesPerSecond: ((found.committedAt.length - 1) * job.shardRows) / last,
      ...{ rows: found.rows, rejected: found.rejected, secondsToFirst: found.secondsToFirst },
      ...{ features: found.features, gpus: found.gpus },
      memory: { mib: samples, growth: (samples.at(-1) ?? 0) - (samples[Math.floor(samples.length / 4)] ?? 0) },
    };
  } finally {
    over.abort();
  }
}

/** MiB that the GPU has in use, twice a second, until the signal is aborted. */
async function sampleMemory(context: PhaseContext, until: AbortSignal): Promise<number[]> {
  const samples: number[] = [];
  while (!until.aborted) {
    samples.push(Number(await askNvidia(context, 'memory.used')));
    await sleep(500, until).catch(() => undefined);
  }
  // What comes before the session is loaded and after it is gone says nothing of growth.
  const most = Math.max(...samples);
  return samples.filter((mib) => mib > most / 2);
}

const folder = join(import.meta.dirname, '../../../../worker/testing/bench');

/** Runs a program of the worker's benches, which prints one JSON value as its last line; `env` is added to this program's own. */
async function askWorker(
  { signal, python }: PhaseContext,
  program: string,
  args: readonly string[],
  env: Record<string, string> = {},
): Promise<unknown> {
  const out = await runWell({
    what: program,
    command: process.execPath,
    args: [join(folder, program), ...args],
    env: { ...process.env, CAIRN_PYTHON: python, ...env },
    signal,
    limitMs: 120_000,
  });
  return JSON.parse(out.trimEnd().split('\n').at(-1) ?? '');
}

/**
 * The export in both precisions, and how closely ONNX Runtime on the CPU follows PyTorch on the CPU and on the GPU. The phase
 * extract has it on CUDA.
 */
export async function exportModels(context: PhaseContext): Promise<void> {
  const model = await drawModel(context);
  context.record('model', { backbone: model.backbone, imageSize: model.imageSize });
  for (const precision of ['fp32', 'fp16'] as const) {
    await context.attempt(precision, async () => {
      const { path, cosine, images, seconds } = await exportModel(context, model, precision);
      const args = ['exported', model.images, path, ...weightsFlags(model), '--rows', '8'];
      const beside = agreement.parse(await askPython(context, rivals, args, 'comparing with PyTorch'));
      context.record(precision, { cosine, images, seconds, torch: beside });
      context.say(
        `${precision}: least cosine ${cosine.toFixed(7)} over ${images} images, ${seconds.toFixed(1)} s; ${beside.least.toFixed(7)} to PyTorch on ${beside.device}`,
      );
    });
  }
}

/** Queries and index of the Google Landmarks Dataset v2. */
const fullSearch = { queries: 1129, rows: 762_000, dim: 512, top: 100 };
const toySearch = { queries: 20, rows: 3000, dim: 64, top: 10 };

const ours = z.looseObject({ seconds: z.number() });
const theirs = z.looseObject({ differentSets: z.number(), mostScoreGap: z.number(), searchSeconds: z.number() });
/** Scores that differ by less than fp32 rounds a sum of 512 products are the same to torch. */
const sameScore = 512 * 2 ** -23;

/**
 * ONNX Runtime's CUDA provider multiplies fp32 in TF32 by default, and its Node binding cannot tell it (it reads the
 * device's number alone). The bound on rounding that makes the search exact holds for fp32, so an environment variable tells the driver's libraries.
 */
const exactProducts = { NVIDIA_TF32_OVERRIDE: '0' };

/** Exact search on the GPU beside torch's matmul and topk: the same images, where their scores differ at all. */
export async function search(context: PhaseContext): Promise<void> {
  const sizes = context.isDry ? toySearch : fullSearch;
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
