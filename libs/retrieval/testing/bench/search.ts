import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { isolatedPython } from '@cairn/runtime';
import { z } from 'zod';

/**
 * Exact search, and `before_merge` of four models, beside the bare matrix products that they need and beside Python programs that do the
 * same (plain_search.py). Each is a process of its own that measures itself without its start; they take turns, so that all see the same
 * machine, and their medians are compared. Features are random: nothing that is measured depends on what they show.
 */
const { values: options } = parseArgs({
  options: {
    only: { type: 'string' },
    rounds: { type: 'string', default: '3' },
    queries: { type: 'string', default: '1129' },
    rows: { type: 'string', default: '762000' },
    dim: { type: 'string', default: '512' },
    top: { type: 'string', default: '100' },
    'block-rows': { type: 'string', default: '50000' },
    models: { type: 'string', default: '4' },
    'rerank-queries': { type: 'string', default: '300' },
    index: { type: 'string', default: '20000' },
    references: { type: 'string', default: '100000' },
    threads: { type: 'string', default: String(navigator.hardwareConcurrency) },
  },
});

const measured = z.object({ seconds: z.number(), cpuSeconds: z.number(), peakMiB: z.number() });
type Measured = z.infer<typeof measured>;
type Program = { command: string; args: string[] };

const here = import.meta.dirname;
const node = (args: string[]): Program => ({ command: process.execPath, args: [join(here, 'search-side.ts'), ...args] });
const python = (args: string[]): Program => ({
  command: process.env.CAIRN_PYTHON ?? 'python3',
  args: isolatedPython(join(here, 'plain_search.py'), args),
});

async function run({ command, args }: Program): Promise<string> {
  const threads = { OMP_NUM_THREADS: options.threads, OPENBLAS_NUM_THREADS: options.threads, MKL_NUM_THREADS: options.threads };
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'inherit'], env: { ...process.env, ...threads } });
  let output = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    output += text;
  });
  await once(child, 'close');
  if (child.exitCode !== 0) throw new Error(`${args.join(' ')} ended with ${child.exitCode}`);
  return output;
}

/** Runs the programs in turns and reports the median of each, and how ours compares with it. */
async function compare(title: string, programs: Record<string, () => Program>): Promise<Record<string, Measured>> {
  const results: Record<string, Measured[]> = {};
  for (let round = 1; round <= Number(options.rounds); round += 1) {
    for (const [name, program] of Object.entries(programs)) {
      const one = measured.parse(JSON.parse(await run(program())));
      results[name] = [...(results[name] ?? []), one];
      console.log(`${title}, round ${round}, ${name}: ${one.seconds.toFixed(2)} s, ${one.cpuSeconds.toFixed(2)} s of processor time`);
    }
  }
  const median = (values: readonly number[]): number => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;
  const medians = Object.fromEntries(
    Object.entries(results).map(([name, all]) => [
      name,
      {
        seconds: median(all.map(({ seconds }) => seconds)),
        cpuSeconds: median(all.map(({ cpuSeconds }) => cpuSeconds)),
        peakMiB: Math.max(...all.map(({ peakMiB }) => peakMiB)),
      },
    ]),
  );
  const ours = medians.cairn;
  console.table(
    Object.fromEntries(
      Object.entries(medians).map(([name, { seconds, cpuSeconds, peakMiB }]) => [
        name,
        {
          seconds: Number(seconds.toFixed(2)),
          'processor seconds': Number(cpuSeconds.toFixed(2)),
          'peak MiB': Math.round(peakMiB),
          'its time / ours': Number((seconds / (ours?.seconds ?? 1)).toFixed(2)),
          'by processor time': Number((cpuSeconds / (ours?.cpuSeconds ?? 1)).toFixed(2)),
        },
      ]),
    ),
  );
  return medians;
}

/** The share of the places in which two files of row numbers differ. */
async function differing(ours: string, theirs: string): Promise<number> {
  const rows = async (path: string): Promise<Int32Array> => {
    const { buffer, byteOffset, byteLength } = await readFile(path);
    return new Int32Array(buffer, byteOffset, byteLength / 4);
  };
  const [a, b] = [await rows(ours), await rows(theirs)];
  if (a.length !== b.length) throw new Error(`${ours} has ${a.length} neighbours, ${theirs} ${b.length}`);
  return a.reduce((count, row, at) => count + (row === b[at] ? 0 : 1), 0) / a.length;
}

const folder = await mkdtemp(join(tmpdir(), 'cairn-bench-search-'));
try {
  const { queries, rows, dim, top, threads, models, index, references } = options;
  const block = options['block-rows'];
  if (options.only !== 'rerank') {
    await run(python(['make-search', folder, '--queries', queries, '--rows', rows, '--dim', dim]));
    const flags = [folder, '--top', top, '--threads', threads];
    await compare(`${queries} x ${rows} x ${dim}, top ${top}`, {
      cairn: () => node(['search', ...flags, '--block-rows', block]),
      'bare product': () => node(['product', ...flags, '--block-rows', block]),
      'numpy, matmul and argpartition': () => python(['numpy', ...flags]),
      'torch, matmul and topk': () => python(['torch', ...flags]),
      'faiss IndexFlatIP': () => python(['faiss', ...flags]),
    });
    for (const name of ['numpy', 'torch', 'faiss'])
      console.log(
        `${name}: ${(100 * (await differing(join(folder, 'cairn.i32'), join(folder, `${name}.i32`)))).toFixed(3)} % other images`,
      );
    await rm(join(folder, 'index'), { recursive: true });
  }
  if (options.only !== 'search') {
    const counts = ['--queries', options['rerank-queries'], '--rows', index, '--references', references, '--models', models, '--dim', dim];
    await run(python(['make-rerank', folder, ...counts]));
    const flags = [folder, '--top', top, '--threads', threads, '--models', models];
    const title = `before_merge, ${models} models, ${options['rerank-queries']} x ${index} x ${references}`;
    await compare(title, {
      cairn: () => node(['rerank', ...flags, '--block-rows', block]),
      'plain NumPy': () => python(['rerank', ...flags]),
      // Knows from the NumPy program how many different references the queries have, whose references are sought too.
      'bare products': () => node(['rerank-products', ...flags, '--block-rows', block]),
    });
    console.log(`${(100 * (await differing(join(folder, 'cairn.i32'), join(folder, 'rerank.i32')))).toFixed(3)} % other images`);
  }
} finally {
  await rm(folder, { recursive: true, force: true });
}
