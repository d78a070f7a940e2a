import { z } from 'zod';

/** The phases in order of worth: what is left when the time is over is worth least. */
export const phaseNames = ['machine', 'train', 'exactness', 'export', 'extract', 'search'] as const;
export type PhaseName = (typeof phaseNames)[number];

/** One training that was measured, beside its rivals and the estimate. Rates are images a second, memory is bytes. */
export const trainFigure = z.object({
  backbone: z.string(),
  imageSize: z.number().int(),
  batch: z.number().int(),
  precision: z.enum(['fp32', 'fp16', 'bf16']),
  channelsLast: z.boolean(),
  compile: z.boolean(),
  classes: z.number().int(),
  imagesPerSecond: z.number(),
  /** By torch's allocator: without CUDA's context. */
  peakBytes: z.number(),
  dataWaitShare: z.number(),
  /** What `cairn plan` says: images a second of one GPU, and bytes. Null for a network whose cost is not known. */
  planned: z.object({ imagesPerSecond: z.number(), bytes: z.number() }).nullable(),
});
export type TrainFigure = z.infer<typeof trainFigure>;

/** The model alone, and in a plain loop, with the same settings as the trainer's. */
export const rivalFigure = trainFigure
  .pick({ backbone: true, imageSize: true, batch: true, precision: true, channelsLast: true, imagesPerSecond: true })
  .extend({ mode: z.enum(['plain', 'random']) });
export type RivalFigure = z.infer<typeof rivalFigure>;

const failure = z.object({ message: z.string(), lastLines: z.array(z.string()) });

export const checkReport = z.object({
  version: z.literal(1),
  /** When it began, ISO 8601. */
  at: z.string(),
  commit: z.string(),
  isDry: z.boolean(),
  limitSeconds: z.number(),
  phases: z.array(
    z.object({
      name: z.enum(phaseNames),
      outcome: z.enum(['done', 'failed', 'out of time', 'skipped']),
      seconds: z.number(),
      /** What it found, by name; a phase that fails keeps what it had. */
      figures: z.record(z.string(), z.unknown()),
      failures: z.array(failure),
    }),
  ),
});
export type CheckReport = z.infer<typeof checkReport>;
export type PhaseReport = CheckReport['phases'][number];

const mostBytes = 1_000_000;
const mostLines = 40;
const mostLineLength = 300;

/** The report as JSON of at most 1 MB: the last lines of failures are what is cut. */
export function toJson(report: CheckReport): string {
  for (let lines = mostLines; lines >= 0; lines = lines === 0 ? -1 : Math.floor(lines / 2)) {
    const phases = report.phases.map((phase) => ({
      ...phase,
      failures: phase.failures.map(({ message, lastLines }) => ({
        message: message.slice(0, 4000),
        lastLines: lines === 0 ? [] : lastLines.slice(-lines).map((line) => line.slice(0, mostLineLength)),
      })),
    }));
    const text = JSON.stringify({ ...report, phases }, null, 1);
    if (Buffer.byteLength(text) <= mostBytes) return text;
  }
  const phases = report.phases.map(({ name, outcome, seconds }) => ({ name, outcome, seconds, figures: {}, failures: [] }));
  return JSON.stringify({ ...report, phases } satisfies CheckReport);
}
