import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs, promisify } from 'node:util';
import { isolatedPython, withoutPythonVariables } from '@cairn/runtime';
import { quantile } from './quantiles.ts';
import { benchStage, drawnLabels, stepRate, toldEvents } from './trainer-run.ts';

/**
 * Images per second of our training loop, of a plain torchvision loop with the same model, batch, threads, loader processes and JPEG files, and
 * of the same model on random tensors, which is the limit. One process each, in turns, every file once; on a GPU where there is one. The
 * plain loop trains too, but does not resume, record bad images or report anything.
 */
const { values: options } = parseArgs({
  options: {
    backbone: { type: 'string', default: 'resnet18' },
    size: { type: 'string', default: '64' },
    batch: { type: 'string', default: '16' },
    workers: { type: 'string', default: '1' },
    threads: { type: 'string', default: '1' },
    steps: { type: 'string', default: '40' },
    rounds: { type: 'string', default: '5' },
    precision: { type: 'string', default: 'fp32' },
  },
});
const python = process.env.CAIRN_PYTHON ?? 'python3';
const rival = join(import.meta.dirname, 'plain_training.py');
const [size, batch, workers, threads, steps, rounds] = (['size', 'batch', 'workers', 'threads', 'steps', 'rounds'] as const).map((name) =>
  Number(options[name]),
) as [number, number, number, number, number, number];
const warmup = Math.ceil(steps / 4);
const pad = Math.round(size / 25);
const limitMs = 30 * 60_000;

const work = await mkdtemp(join(tmpdir(), 'cairn-bench-train-'));
try {
  console.log(`Drawing ${steps * batch} JPEG files of 640 x 480 ...`);
  await run(rival, ['make', work, '--count', String(steps * batch)]);
  const arms = { cairn_trainer: ours, 'plain torchvision loop': () => theirs('plain'), 'random tensors': () => theirs('random') };
  const rates: Record<string, number[]> = {};
  for (let round = 0; round < rounds; round += 1) {
    const entries = Object.entries(arms);
    // Each arm is first as often as last: drift over time affects all equally.
    for (const [name, arm] of [...entries.slice(round % 3), ...entries.slice(0, round % 3)]) {
      rates[name] = [...(rates[name] ?? []), await arm(round)];
    }
  }
  report(rates);
} finally {
  await rm(work, { recursive: true, force: true });
}

async function run(moduleOrFile: string, args: readonly string[]): Promise<string> {
  const env = withoutPythonVariables(process.env);
  return (await promisify(execFile)(python, isolatedPython(moduleOrFile, args), { env, timeout: limitMs, maxBuffer: 16 * 1024 * 1024 }))
    .stdout;
}

async function theirs(mode: 'plain' | 'random'): Promise<number> {
  const numbers = { size, pad, batch, workers, threads, steps, warmup };
  const flags = Object.entries(numbers).flatMap(([name, value]) => [`--${name}`, String(value)]);
  return Number(await run(rival, [mode, work, '--backbone', options.backbone, '--precision', options.precision, ...flags]));
}

/** One epoch by the real program, whose events say when a step was done. */
async function ours(round: number): Promise<number> {
  const folder = join(work, `round-${round}`);
  await mkdir(folder);
  const config = benchStage({
    ...{ work, folder, backbone: options.backbone, rows: steps * batch, classes: drawnLabels },
    settings: {
      imageSize: size,
      batch,
      precision: options.precision,
      loaderWorkers: workers,
      threadsPerRank: threads,
      logEverySteps: warmup,
    },
  });
  await writeFile(join(folder, 'stage.json'), JSON.stringify(config));
  await run('cairn_trainer', ['--config', join(folder, 'stage.json')]);
  const rate = stepRate(await toldEvents(config), batch);
  await rm(folder, { recursive: true });
  return rate;
}

function report(rates: Record<string, number[]>): void {
  const shown = Object.entries(rates).map(([name, list]) => {
    const [least, median, most] = [0.01, 0.5, 1].map((q) => Number(quantile(list, q).toFixed(1)));
    return [name, { 'images/s, median': median, least, most, runs: list.length }];
  });
  console.log(
    `\n${options.backbone} at ${size} px, ${options.precision}, batches of ${batch}, ${threads} threads, ${workers} loader processes`,
  );
  console.table(Object.fromEntries(shown));
  const against = (other: string): string => {
    const [ours, others] = [rates.cairn_trainer ?? [], rates[other] ?? []];
    const ratios = ours.map((rate, round) => rate / (others[round] ?? Number.NaN));
    // Next to other work medians vary; the fastest rounds are the least disturbed.
    return `${quantile(ratios, 0.5).toFixed(2)} by the median of the rounds' ratios, ${(Math.max(...ours) / Math.max(...others)).toFixed(2)} by the fastest rounds`;
  };
  console.log(`cairn_trainer against the plain loop: ${against('plain torchvision loop')} (the aim is at least 1.00)`);
  console.log(`cairn_trainer against random tensors: ${against('random tensors')}; the difference to 1 is spent on data and bookkeeping`);
}
