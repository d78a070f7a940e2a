import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { figureName, trainingCost } from '@cairn/domain';
import { z } from 'zod';
import { type CheckReport, checkReport, type RivalFigure, rivalFigure, type TrainFigure, trainFigure } from './check-report.ts';

const root = join(import.meta.dirname, '../../../..');

/**
 * `npm run gpu -- report REPORT`: writes a report's figures into docs/benchmarks.md, and the constants of the estimates that it
 * measured.
 */
export async function report(args: string[]): Promise<void> {
  const [path] = args;
  if (path === undefined || args.length > 1) throw new Error('usage: npm run gpu -- report report.json');
  const found = checkReport.parse(JSON.parse(await readFile(path, 'utf8')));
  if (found.isDry) throw new Error(`${path} is of a dry run on a CPU; its figures say nothing of a GPU.`);
  const page = join(root, 'docs/benchmarks.md');
  await writeFile(page, withSection(await readFile(page, 'utf8'), benchmarkSection(found)));
  console.log(`${page} has its figures`);
  const figures = figuresOf(found, sourceOf(found));
  if (figures.trainings.length === 0) {
    console.log('It measured no training, so the estimates stay as they are.');
    return;
  }
  const file = join(root, 'libs/domain/gpu-figures.json');
  await writeFile(file, `${JSON.stringify(figures, null, 2)}\n`);
  console.log(`${file} has what ${Object.keys(figures.networks).join(', ')} sustained; run \`npm test -- libs/domain\``);
}

const heading = '## On a GPU: `npm run gpu`';

const machineFigures = z.looseObject({
  gpus: z.array(z.looseObject({ name: z.string(), driver: z.string() })).optional(),
  python: z.looseObject({ packages: z.record(z.string(), z.string().nullable()), cuda: z.string().nullable() }).optional(),
});

/** The GPU, its driver and torch, as a line of the benchmarks names them. */
function sourceOf(report: CheckReport): string {
  const figures = machineFigures.safeParse(report.phases.find(({ name }) => name === 'machine')?.figures ?? {}).data ?? {};
  const { name = 'an unknown GPU', driver = 'unknown' } = figures.gpus?.[0] ?? {};
  const torch = figures.python?.packages.torch ?? 'unknown';
  return `${name} (driver ${driver}, torch ${torch}, CUDA ${figures.python?.cuda ?? 'unknown'}), ${report.at.slice(0, 10)}`;
}

/** A report as a dated part of docs/benchmarks.md. */
export function benchmarkSection(report: CheckReport): string {
  const rivals = rivalFigure.array().parse(report.phases.find(({ name }) => name === 'train')?.figures.rivals ?? []);
  const rows = trainingsOf(report).map((training) => trainingRow(training, rivals));
  const table = [
    '| training | images/s | of the plain loop | of the model alone | waiting for data | memory | planned: time, memory |',
    '| --- | --- | --- | --- | --- | --- | --- |',
    ...rows,
  ];
  const others = report.phases
    .filter(({ name }) => name !== 'train' && name !== 'machine')
    .map(({ name, outcome, figures }) => phaseRow(name, outcome, figures));
  const failures = report.phases.flatMap(({ name, failures: found }) => found.map(({ message }) => `- ${name}: ${oneLine(message)}`));
  return [
    `### ${sourceOf(report)}`,
    '',
    `Commit ${report.commit}, ${report.limitSeconds} s in all. Ratios are to what was measured beside it with the same settings; planned is the estimate of that commit over what was measured.`,
    ...(rows.length > 0 ? ['', ...table] : []),
    ...(others.length > 0 ? ['', '| phase | outcome | figures |', '| --- | --- | --- |', ...others] : []),
    ...(failures.length > 0 ? ['', 'What failed or was not reached:', '', ...failures] : []),
    '',
  ].join('\n');
}

function trainingRow(training: TrainFigure, rivals: readonly RivalFigure[]): string {
  const { backbone, imageSize, batch, precision, channelsLast, compile, imagesPerSecond, dataWaitShare, peakBytes, planned } = training;
  const same = (mode: RivalFigure['mode']) =>
    rivals.find(
      (one) => one.mode === mode && one.backbone === backbone && one.precision === precision && one.channelsLast === channelsLast,
    );
  const against = (mode: RivalFigure['mode']) =>
    ratio(compile ? Number.NaN : imagesPerSecond / (same(mode)?.imagesPerSecond ?? Number.NaN));
  const name = `${backbone}, ${imageSize} px x ${batch}, ${precision}${channelsLast ? ', channels last' : ''}${compile ? ', compiled' : ''}`;
  const plan =
    planned === null ? '' : `${ratio(imagesPerSecond / planned.imagesPerSecond)}, ${ratio(planned.bytes / (peakBytes + 2 ** 30))}`;
  const cells = [
    name,
    imagesPerSecond.toFixed(0),
    against('plain'),
    against('random'),
    `${Math.round(dataWaitShare * 100)} %`,
    `${(peakBytes / 2 ** 30).toFixed(1)} GiB`,
    plan,
  ];
  return `| ${cells.join(' | ')} |`;
}

const ratio = (value: number): string => (Number.isFinite(value) ? value.toFixed(2) : '');
const oneLine = (text: string): string => text.replace(/\s+/g, ' ').slice(0, 300);

function phaseRow(name: string, outcome: string, figures: Record<string, unknown>): string {
  const cell = Object.entries(figures).map(([key, value]) => `${key}: ${shown(value)}`);
  return `| ${name} | ${outcome} | ${cell.join('<br>').replaceAll('|', '\\|')} |`;
}

/** A figure in a cell: names and numbers of three digits; long lists by their first and last. */
function shown(value: unknown): string {
  if (typeof value === 'number') return String(Number(value.toPrecision(Math.abs(value) < 1 && value > 0.9 ? 6 : 3)));
  if (Array.isArray(value))
    return value.length > 4 ? `${shown(value[0])} ... ${shown(value.at(-1))} (${value.length})` : value.map(shown).join(', ');
  if (typeof value === 'object' && value !== null) {
    return Object.entries(value)
      .map(([key, inner]) => `${key} ${shown(inner)}`)
      .join(', ');
  }
  return oneLine(String(value));
}

/** The page with a part more, the newest first; the heading is made where it is not there. */
export function withSection(page: string, section: string): string {
  const at = page.indexOf(`${heading}\n`);
  if (at === -1) return `${page.trimEnd()}\n\n${heading}\n\nOn a machine with one GPU; [gpu.md](gpu.md) describes how.\n\n${section}`;
  const first = page.indexOf('\n### ', at);
  const next = page.indexOf('\n## ', at + heading.length);
  const isFirst = first === -1 || (next !== -1 && next < first);
  const cut = isFirst ? (next === -1 ? page.length : next) : first;
  return `${page.slice(0, cut).trimEnd()}\n\n${section}\n${page.slice(cut).trimStart()}`.trimEnd().concat('\n');
}

/** What libs/domain/gpu-figures.json holds, which plans reckon with. */
type FiguresFile = {
  source: string | null;
  networks: Record<string, Record<string, { flops: number; kept: number }>>;
  trainings: (Pick<TrainFigure, 'backbone' | 'imageSize' | 'batch' | 'precision' | 'channelsLast' | 'classes' | 'peakBytes'> & {
    computeImagesPerSecond: number;
  })[];
};

/** The length of features in the check's stages: the schema's default. */
const embeddingDim = 512;

/** The trainings of a report; none where the phase did not get there. */
function trainingsOf(report: CheckReport): TrainFigure[] {
  return trainFigure.array().parse(report.phases.find(({ name }) => name === 'train')?.figures.trainings ?? []);
}

/**
 * The constants of the estimates as a report measured them: what a network sustained while it had its images, and how much it kept for the
 * backward pass beside the count. Compiled networks have none.
 */
export function figuresOf(report: CheckReport, source: string): FiguresFile {
  const file: FiguresFile = { source, networks: {}, trainings: [] };
  for (const training of trainingsOf(report)) {
    const { backbone, imageSize, batch, precision, classes, peakBytes, channelsLast, compile } = training;
    const cost = trainingCost({ imageSize, precision }, { backbone, embeddingDim }, classes);
    if (cost === null || compile) continue;
    const computeImagesPerSecond = training.imagesPerSecond / (1 - Math.min(training.dataWaitShare, 0.99));
    const fixed = cost.weights * cost.bytesPerWeight + batch * cost.logitBytes;
    const kept = Math.max(0, peakBytes - fixed) / (batch * cost.kept * cost.width);
    const measured = { flops: Math.round(computeImagesPerSecond * cost.flops), kept: Number(kept.toPrecision(4)) };
    file.networks[backbone] = { ...file.networks[backbone], [figureName(precision, channelsLast)]: measured };
    file.trainings.push({ backbone, imageSize, batch, precision, channelsLast, classes, peakBytes, computeImagesPerSecond });
  }
  return file;
}
