import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Preprocessing } from '@cairn/contract';
import { packTars } from '@cairn/dataset';
import { writeFeatureModel } from '@cairn/retrieval/fixtures';
import { isolatedPython } from '@cairn/runtime';
import { openStore } from '@cairn/storage';
import { findS3Server, startS3, trainerPython } from '@cairn/testing';
import { z } from 'zod';
import { exportModel, weightsFlags } from '../../gpu/exported-model.ts';
import { askPython, type PhaseContext } from '../../gpu/phase.ts';
import { rivals } from '../../gpu/phases/machine.ts';
import { readTraining } from './training.ts';

export type SpeedOptions = {
  only: readonly string[];
  /** Images of a measurement, and of the one that shows whether memory is flat. */
  images: number;
  flat: number;
  size: number;
  backbone: string;
  rounds: number;
};

const figures = z.object({ images: z.number(), seconds: z.number(), cpuSeconds: z.number(), residentMiB: z.array(z.number()) });
type Figures = z.infer<typeof figures>;

/** Different pictures, which the tars repeat under other ids. */
const pictures = 64;
const cores = availableParallelism();
const programs = join(import.meta.dirname, '../../../../worker/testing/bench');

/**
 * How fast one machine extracts from tars, beside the model alone, decoding alone and a PyTorch DataLoader, whether its memory is flat, and
 * how fast from S3. The sides take turns, each a process of its own that measures itself without its start. Ratios by processor time depend
 * least on other work of the machine.
 */
export async function measureSpeed(options: SpeedOptions): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'cairn-bench-'));
  try {
    const tars = await makeCollection(folder, Math.max(options.images, 512));
    // One product of all pixels: nothing beside decoding them.
    const tiny = await writeFeatureModel(folder, { imageSize: options.size, dim: 1 });
    const bench: Bench = { folder, tars, tiny, ...options };
    if (options.only.includes('model')) {
      await tinyModel(bench);
      await wholeModel(bench);
    }
    if (options.only.includes('s3') || options.only.includes('training')) await fromS3(bench);
    if (options.only.includes('memory')) await flatMemory(bench);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

type Bench = SpeedOptions & { folder: string; tars: string; tiny: string };

/** Draws pictures, and packs them into tars as many times as there are images. */
async function makeCollection(folder: string, images: number): Promise<string> {
  const drawing = join(import.meta.dirname, '../../../../../libs/testing/bench/plain_training.py');
  await run(trainerPython(), isolatedPython(drawing, ['make', folder, '--count', String(pictures)]));
  const files = (await readdir(join(folder, 'images'))).sort();
  const ids = Array.from({ length: images }, (_, index) => index.toString(16).padStart(16, '0'));
  const read = (index: number) => readFile(join(folder, 'images', files[index % files.length] ?? ''));
  const root = join(folder, 'tars');
  await packTars(
    root,
    'index',
    ids.map((id, index) => ({ id, read: () => read(index) })),
    4,
  );
  await writeFile(join(folder, 'ids.txt'), ids.map((id) => `${id}\n`).join(''));
  return root;
}

async function run(command: string, args: readonly string[], env: NodeJS.ProcessEnv = process.env): Promise<string> {
  const child = spawn(command, args, { env, stdio: ['ignore', 'pipe', 'inherit'] });
  let output = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    output += text;
  });
  await once(child, 'close');
  if (child.exitCode !== 0) throw new Error(`${args.join(' ')} ended with ${child.exitCode ?? child.signalCode}`);
  return output;
}

async function side(kind: 'model' | 'decode' | 'extract', flags: Record<string, string | number>, env = process.env): Promise<Figures> {
  const args = Object.entries(flags).flatMap(([name, value]) => [`--${name}`, String(value)]);
  return figures.parse(JSON.parse(await run(process.execPath, [join(programs, 'speed-side.ts'), kind, ...args], env)));
}

const perSecond = ({ images, seconds }: Pick<Figures, 'images' | 'seconds'>): number => images / seconds;
const cpuMs = ({ images, cpuSeconds }: Figures): number => (1000 * cpuSeconds) / images;
const median = (values: readonly number[]): number => values.toSorted((a, b) => a - b)[Math.floor((values.length - 1) / 2)] ?? Number.NaN;

/** Runs the sides in turns; the medians of images a second and of processor milliseconds an image. */
async function inTurns<Name extends string>(rounds: number, sides: Record<Name, () => Promise<Figures>>) {
  const names = Object.keys(sides) as Name[];
  const all = Object.fromEntries(names.map((name) => [name, [] as Figures[]])) as Record<Name, Figures[]>;
  for (let round = 0; round < rounds; round += 1) for (const name of names) all[name].push(await sides[name]());
  return Object.fromEntries(
    names.map((name) => [name, { rate: median(all[name].map(perSecond)), cpu: median(all[name].map(cpuMs)) }]),
  ) as Record<Name, { rate: number; cpu: number }>;
}

const percent = (share: number): string => `${(100 * share).toFixed(0)} %`;
const shown = ({ rate, cpu }: { rate: number; cpu: number }): string =>
  `${rate.toFixed(1)} images/s, ${cpu.toFixed(2)} ms of processor time`;

async function tinyModel({ folder, tars, tiny, images, size, rounds }: Bench): Promise<void> {
  for (const way of ['cairn', 'reference'] as const satisfies Preprocessing[]) {
    const common = { folder, size, images, preprocessing: way, threads: cores };
    const { decode, extract } = await inTurns(rounds, {
      decode: () => side('decode', common),
      extract: () => side('extract', { ...common, source: tars, model: tiny }),
    });
    console.log(`${way}: decoding alone ${shown(decode)}; with a tiny model from tars ${shown(extract)}`);
    console.log(
      `  ${percent(extract.rate / decode.rate)} of decoding, by processor time ${percent(decode.cpu / extract.cpu)}  (limit: 85 %)`,
    );
  }
}

async function wholeModel(bench: Bench): Promise<void> {
  const { folder, tars, images, size, rounds, backbone } = bench;
  const { path, weights } = await exported(bench);
  const common = { folder, size, images, threads: cores, model: path };
  const { model, decode, extract } = await inTurns(rounds, {
    model: () => side('model', common),
    decode: () => side('decode', common),
    extract: () => side('extract', { ...common, source: tars }),
  });
  const bound = 1 / (1 / model.rate + 1 / decode.rate);
  console.log(`${backbone} at ${size} px: the model alone ${shown(model)}; decoding alone ${shown(decode)}; from tars ${shown(extract)}`);
  const byCpu = percent((model.cpu + decode.cpu) / extract.cpu);
  console.log(`  ${percent(extract.rate / bound)} of 1/(1/model + 1/decode), by processor time ${byCpu}  (limit: 95 %)`);
  if (!bench.only.includes('loader')) return;
  const flags = ['--batch', '16', '--rows', String(images), '--workers', String(cores)];
  const args = ['loader', join(folder, 'images'), ...weightsFlags(weights), ...flags];
  const loader = z.looseObject({ imagesPerSecond: z.number() }).parse(await askPython(contextOf(folder), rivals, args, 'a DataLoader'));
  const times = (extract.rate / loader.imagesPerSecond).toFixed(2);
  console.log(
    `a PyTorch DataLoader with it, channels last: ${loader.imagesPerSecond.toFixed(1)} images/s; ours is ${times} times that  (limit: 1.25)`,
  );
}

/** The model as the exporter writes it, with weights of its initialisation. */
async function exported({ folder, backbone, size }: Bench) {
  const context = contextOf(folder);
  const args = ['checkpoint', join(folder, 'weights.pt'), '--backbone', backbone, '--size', String(size), '--passes', '1'];
  const weights = z.object({ path: z.string(), sha256: z.string() }).parse(await askPython(context, rivals, args, 'making weights'));
  const list = { path: join(folder, `list-${pictures}.parquet`), rows: pictures, labels: 100 };
  const drawn = { backbone, imageSize: size, weights, list, images: join(folder, 'images') };
  const { path } = await exportModel(context, drawn, 'fp32');
  return { path, weights: drawn };
}

const contextOf = (folder: string): PhaseContext => ({
  isDry: true,
  folder,
  python: trainerPython(),
  signal: AbortSignal.timeout(3_600_000),
  secondsLeft: () => 3600,
  record: () => undefined,
  say: console.log,
  attempt: async (_, measure) => measure(),
});

/** Images of the buffer, and loader processes, when a stage is read. */
const [shuffleBuffer, loaders] = [256, 8];

async function fromS3({ folder, tars, tiny, images, size, rounds, only }: Bench): Promise<void> {
  const server = await startS3({ program: await findS3Server({ python: process.env.CAIRN_PYTHON, cacheDir: '' }) });
  Object.assign(process.env, server.env);
  try {
    const store = openStore(server.url('speed'));
    for (const path of (await readdir(tars, { recursive: true })).filter((name) => name.includes('.')))
      await store.put(path, { file: join(tars, path) });
    if (only.includes('training'))
      await readTraining({ folder, tars, s3: server, prefix: 'speed', size, workers: loaders, buffer: shuffleBuffer, run });
    if (!only.includes('s3')) return;
    const common = { folder, size, images, threads: cores, model: tiny };
    const address = `s3://${server.bucket}/speed`;
    const { local, s3 } = await inTurns(rounds, {
      local: () => side('extract', { ...common, source: tars }),
      s3: () => side('extract', { ...common, source: address, place: server.url('speed') }),
    });
    console.log(`from tars of a folder ${shown(local)}; from a server for S3 on the same cores ${shown(s3)}`);
    console.log(`  ${percent(s3.rate / local.rate)} of the folder  (limit: 90 %)`);
  } finally {
    await server.stop();
  }
}

/** A network of almost nothing at a small size: shards come quickly. */
async function flatMemory({ folder, tars, flat, tiny, size }: Bench): Promise<void> {
  await mkdir(folder, { recursive: true });
  const { residentMiB, images } = await side('extract', { folder, size, images: flat, threads: cores, model: tiny, source: tars });
  const [first, last] = [residentMiB[Math.floor(residentMiB.length / 4)] ?? 0, residentMiB.at(-1) ?? 0];
  console.log(
    `memory over ${images} images: ${Math.max(...residentMiB)} MiB at most; ${last - first} MiB more at the end than after a quarter`,
  );
}
