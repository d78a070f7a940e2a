import { execFile } from 'node:child_process';
import { copyFile, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { promisify } from 'node:util';
import { recipe as recipeSchema } from '@cairn/contract';
import { estimateStep, expandRecipe, type GpuFigures } from '@cairn/domain';
import { isolatedPython } from '@cairn/runtime';
import { trainerPython } from '@cairn/testing';
import { expect, onTestFinished, test, vi } from 'vitest';
import { type CheckReport, checkReport, type TrainFigure, toJson } from './check-report.ts';
import { packageClosure, writeParts } from './pack.ts';
import { type Phase, runPhase } from './phase.ts';
import { benchmarkSection, figuresOf, withSection } from './report.ts';
import { runWell } from './run-bounded.ts';

test('a package is found where Node finds it, and what nobody wants stays out', () => {
  const locked = {
    'apps/worker': { dependencies: { '@cairn/storage': '*', a: '1' } },
    'libs/storage': { dependencies: { b: '2' } },
    'node_modules/@cairn/storage': { link: true, resolved: 'libs/storage' },
    'node_modules/a': { dependencies: { b: '1' }, optionalDependencies: { 'a-for-another-platform': '1' } },
    'node_modules/a/node_modules/b': { dependencies: { c: '1' } },
    'node_modules/b': {},
    'node_modules/c': {},
    'node_modules/d': {},
  };
  expect(packageClosure(locked, ['apps/worker'])).toEqual([
    'apps/worker',
    'libs/storage',
    'node_modules/@cairn/storage',
    'node_modules/a',
    'node_modules/a/node_modules/b',
    'node_modules/b',
    'node_modules/c',
  ]);
});

const run = promisify(execFile);

/** An archive of one file in parts of `partBytes`, beside the program that unpacks them. */
async function packed(partBytes: number) {
  const folder = await mkdtemp(join(tmpdir(), 'cairn-parts-'));
  onTestFinished(() => rm(folder, { recursive: true }));
  await mkdir(join(folder, 'source'));
  const content = Array.from({ length: 500 }, (_, index) => `${index * index}`).join(' ');
  await writeFile(join(folder, 'source/numbers.txt'), content);
  const { stdout } = await run('tar', ['-cJ', '-C', join(folder, 'source'), '.'], { encoding: 'buffer', maxBuffer: 1 << 24 });
  const parts = await writeParts(Readable.from([stdout.subarray(0, 100), stdout.subarray(100)]), folder, partBytes);
  await writeFile(join(folder, 'manifest.json'), JSON.stringify({ commit: 'c', parts }));
  await copyFile(join(import.meta.dirname, 'machine/unpack.py'), join(folder, 'unpack.py'));
  const unpack = () => run(trainerPython(), isolatedPython(join(folder, 'unpack.py'), [join(folder, 'target')]));
  return { folder, content, parts, bytes: stdout.length, unpack };
}

test('what was cut into parts is unpacked as it was, and no part is larger than it may be', async () => {
  const { folder, content, parts, bytes, unpack } = await packed(64);
  expect(parts).toHaveLength(Math.ceil(bytes / 64));
  expect(parts.slice(0, -1).every((part) => part.bytes === 64)).toBe(true);
  await unpack();
  expect(await readFile(join(folder, 'target/numbers.txt'), 'utf8')).toBe(content);
});

test('a part that is damaged or missing is named, and nothing is unpacked', async () => {
  const { folder, parts, unpack } = await packed(64);
  const [first, second] = parts.map(({ name }) => join(folder, name)) as [string, string];
  await writeFile(first, 'x'.repeat(64));
  await rm(second);
  const failure = await unpack().catch((error: { stderr: string }) => error.stderr);
  expect(failure).toContain(`${first} has 64 of 64 bytes, or others: bring it again`);
  expect(failure).toContain(`${second} is missing`);
  await expect(readFile(join(folder, 'target/numbers.txt'))).rejects.toThrow();
});

function runPhaseInPlay(phase: Phase, limitSeconds = 60) {
  const silent = vi.spyOn(console, 'log').mockImplementation(() => undefined);
  onTestFinished(() => silent.mockRestore());
  return runPhase(phase, {
    name: 'phase',
    folder: '/tmp',
    python: 'python3',
    isDry: true,
    limitSeconds,
    signal: new AbortController().signal,
  });
}

test('a measurement that fails is recorded with its last lines, and the next is made', async () => {
  const result = await runPhaseInPlay(async ({ attempt, record, signal }) => {
    const sh = (script: string) =>
      runWell({ what: 'the program', command: 'sh', args: ['-c', script], env: { PATH: process.env.PATH }, signal, limitMs: 10_000 });
    for (const script of ['echo 1', 'echo why >&2; exit 3', 'echo 2']) {
      const out = await attempt(script, () => sh(script));
      if (out !== null) record('found', [Number(out)]);
    }
  });
  expect(result).toMatchObject({ outcome: 'failed', figures: { found: [1, 2] } });
  expect(result.failures).toEqual([{ message: expect.stringContaining('the program ended with exit code 3: why'), lastLines: ['why'] }]);
});

test('a phase whose time is over keeps its figures, and nothing that it started is left', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'cairn-phase-'));
  onTestFinished(() => rm(folder, { recursive: true }));
  const pidFile = join(folder, 'pid');
  const result = await runPhaseInPlay(async ({ record, signal }) => {
    record('before', 1);
    const script = `sleep 60 & echo $! >${pidFile}; wait`;
    await runWell({ what: 'the program', command: 'sh', args: ['-c', script], env: { PATH: process.env.PATH }, signal, limitMs: 60_000 });
  }, 1);
  expect(result).toMatchObject({ outcome: 'out of time', figures: { before: 1 } });
  // What the program had started is gone too; who adopted it may not have noticed yet.
  const state = `/proc/${(await readFile(pidFile, 'utf8')).trim()}/stat`;
  await expect.poll(() => readFile(state, 'utf8').catch(() => 'gone'), { timeout: 45_000 }).toMatch(/^gone$|\) Z /);
});

const training: TrainFigure = {
  ...{ backbone: 'resnet50', imageSize: 256, batch: 128, precision: 'fp16', channelsLast: true, compile: false, classes: 81_313 },
  ...{ imagesPerSecond: 1800, peakBytes: 11 * 2 ** 30, dataWaitShare: 0.1, planned: { imagesPerSecond: 716, bytes: 9.66 * 2 ** 30 } },
};

function reportOf(trainings: readonly TrainFigure[], lastLines: string[] = []): CheckReport {
  const rival = { backbone: 'resnet50', imageSize: 256, batch: 128, precision: 'fp16', channelsLast: true };
  const rivals = [
    { ...rival, mode: 'plain', imagesPerSecond: 1500 },
    { ...rival, mode: 'random', imagesPerSecond: 2000 },
  ];
  const phase = { outcome: 'done', seconds: 1, failures: [] };
  return checkReport.parse({
    ...{ version: 1, at: '2026-12-01T10:00:00.000Z', commit: 'abc', isDry: false, limitSeconds: 480 },
    phases: [
      {
        ...phase,
        name: 'machine',
        figures: { gpus: [{ name: 'NVIDIA H200', driver: '580.1' }], python: { packages: { torch: '2.11' }, cuda: '13.0' } },
      },
      { ...phase, name: 'train', figures: { trainings, rivals } },
      {
        ...phase,
        name: 'search',
        outcome: 'failed',
        figures: { search: { seconds: 1.234 } },
        failures: [{ message: 'a | b\nc', lastLines }],
      },
    ],
  });
}

test('the figures of a report are rows with ratios to what was measured beside them', () => {
  const section = benchmarkSection(reportOf([training]));
  expect(section).toContain('### NVIDIA H200 (driver 580.1, torch 2.11, CUDA 13.0), 2026-12-01\n');
  // 9.66 GiB planned of 11 + 1 measured.
  expect(section).toContain('| resnet50, 256 px x 128, fp16, channels last | 1800 | 1.20 | 0.90 | 10 % | 11.0 GiB | 2.51, 0.81 |');
  expect(section).toContain('| search | failed | search: seconds 1.23 |');
  expect(section).toContain('- search: a | b c');
});

test('the newest report comes first, below one heading', () => {
  const page = withSection(withSection('# Benchmarks\n\n## Other\n\ntext\n', '### one\n\nfirst\n'), '### two\n\nsecond\n');
  expect(page.match(/## On a GPU/g)).toHaveLength(1);
  expect(page.indexOf('### two')).toBeLessThan(page.indexOf('### one'));
  expect(page.indexOf('text')).toBeLessThan(page.indexOf('## On a GPU'));
});

test('with the constants of a report a plan says what was measured', () => {
  const figures = figuresOf(
    reportOf([training, { ...training, compile: true, imagesPerSecond: 9000 }, { ...training, channelsLast: false, imagesPerSecond: 900 }]),
    'an H200',
  );
  expect(figures.trainings).toHaveLength(2);
  const plan = (channelsLast: boolean) => estimateWith(figures, channelsLast);
  // A tenth of the time was spent waiting, so that the GPU sustained 2,000 images a second: 640 s.
  expect((plan(true)?.gpuHours ?? 0) * 3600).toBeCloseTo(640, -1);
  expect((plan(false)?.gpuHours ?? 0) * 3600).toBeCloseTo(1280, -1);
  expect(plan(true)?.gpuMemoryGib).toBeCloseTo(12, 1);
  expect(plan(true)?.basis).toContain('as measured in training on an H200');
});

/** The estimate of one epoch of 1,280,000 images. */
function estimateWith(figures: GpuFigures, channelsLast: boolean) {
  const recipe = recipeSchema.parse({
    name: 'r50',
    model: { backbone: 'resnet50' },
    stages: {
      one: {
        from: 'init',
        list: 'clean',
        imageSize: 256,
        epochs: 1,
        learningRate: 0.1,
        batch: 128,
        ranks: 1,
        precision: 'fp16',
        channelsLast,
      },
    },
    export: { stage: 'one', imageSize: 256 },
    extract: { index: { list: 'index' }, query: { list: 'query' } },
    register: { model: 'r50' },
  });
  const plan = expandRecipe(recipe);
  const step = plan.find(({ name }) => name === 'one');
  if (step === undefined) throw new Error('the recipe has no stage');
  return estimateStep(step, plan, { clean: { rows: 1_280_000, classes: 81_313 } }, figures);
}

test('a report never takes more than a megabyte, and keeps its figures', () => {
  const noise = Array.from({ length: 500 }, (_, index) => `${index} ${'x'.repeat(10_000)}`);
  const text = toJson({
    ...reportOf([training], noise),
    phases: Array.from({ length: 100 }, () => reportOf([training], noise).phases).flat(),
  });
  expect(Buffer.byteLength(text)).toBeLessThanOrEqual(1_000_000);
  expect(checkReport.parse(JSON.parse(text)).phases[1]?.figures.trainings).toHaveLength(1);
});
