import { z } from 'zod';
import { idOf, largestInt4, sha256Hex, timestamp } from './names.ts';
import { runListItem } from './rest.ts';
import { stepKind, stepState } from './states.ts';
import { writtenText } from './text.ts';

// Several runs side by side: what differs in their settings, and the outcomes of their steps.

/** Most runs of a comparison: more columns cannot be read side by side. */
export const maxComparedRuns = 8;
/** Most differing settings of a comparison. */
export const maxDifferences = 1_000;

const runId = idOf('run');

/** GET /v1/runs/comparison?run=A&run=B. */
export const runComparisonQuery = z.strictObject({
  run: z
    .union([runId, z.array(runId)])
    .transform((given) => [...new Set(Array.isArray(given) ? given : [given])])
    .pipe(z.array(runId).min(2, 'name at least two runs').max(maxComparedRuns, `name at most ${maxComparedRuns} runs`))
    .describe('Repeated: the runs to compare, two to eight.'),
});

/** The same step in one of the runs. */
export const comparedStep = z.object({
  state: stepState,
  /** As of a step: `mapAt100`, `mapAt100.end`, and the interval of an evaluation. */
  scores: z.record(z.string(), z.number()),
  gpuSeconds: z.number(),
  reusedFrom: z.object({ runId, runName: z.string() }).nullable(),
  artifactId: idOf('artifact').nullable(),
  startedAt: timestamp.nullable(),
  finishedAt: timestamp.nullable(),
});
export type ComparedStep = z.infer<typeof comparedStep>;

/** A setting that is not the same in all runs. Every list of a comparison is in the order of its runs; null: a run does not have it. */
export const settingDifference = z.object({
  /** Null for what is of the whole run: its recipe and its dataset. */
  step: z.string().nullable(),
  path: z.string(),
  of: z.array(z.object({ value: z.unknown() }).nullable()),
});
export type SettingDifference = z.infer<typeof settingDifference>;

export const runComparison = z.object({
  runs: z.array(runListItem),
  differences: z.array(settingDifference),
  /** Of all; `differences` has at most 1,000. */
  differencesTotal: z.number().int(),
  steps: z.array(z.object({ name: z.string(), kind: stepKind, of: z.array(comparedStep.nullable()) })),
});
export type RunComparison = z.infer<typeof runComparison>;

// The curves and the checkpoints of a training stage.

/** An optimizer step. */
const stepNumber = z.coerce.number().int().min(-1).max(largestInt4);

/** GET /v1/runs/:id/steps/:name/metrics. */
export const metricsQuery = z.strictObject({
  /** Comma-separated names; defaults to all. */
  names: writtenText(500).optional(),
  maxPoints: z.coerce.number().int().min(2).max(10_000).default(1000),
  after: stepNumber.optional().describe('Only points after this optimizer step: the last one that the reader has.'),
  from: stepNumber.optional().describe('Only points from this optimizer step on.'),
  to: stepNumber.optional().describe('Only points up to this optimizer step.'),
});
export const metricSeries = z.object({
  name: z.string(),
  /** Optimizer steps. */
  steps: z.array(z.number()),
  values: z.array(z.number()),
  /** Seconds since 1970, as the trainer reported them. */
  times: z.array(z.number()),
  /** Points in the range before decimation. */
  total: z.number().int(),
});
export const metricsView = z.object({
  series: z.array(metricSeries),
  decimated: z.boolean(),
  /** Where the line of one attempt continues that of another, in order. An attempt without points is not listed. */
  attempts: z.array(
    z.object({
      id: idOf('attempt'),
      ordinal: z.number().int(),
      /** The optimizer step of the checkpoint that it resumed from; null: it started from the beginning. */
      resumedFrom: z.number().int().nullable(),
      firstStep: z.number().int(),
      lastStep: z.number().int(),
      startedAt: timestamp.nullable(),
      endedAt: timestamp.nullable(),
    }),
  ),
});
export type MetricsView = z.infer<typeof metricsView>;

/** A checkpoint that was stored; the record stays when its file is removed. */
export const checkpointView = z.object({
  id: idOf('checkpoint'),
  attemptId: idOf('attempt'),
  ordinal: z.number().int().describe('Of the attempt.'),
  step: z.number().int().describe('The optimizer step.'),
  epoch: z.number(),
  bytes: z.number().int(),
  sha256: sha256Hex,
  /** The last one of the stage: its result. */
  final: z.boolean(),
  createdAt: timestamp,
  /** When it was last read back and its SHA-256 was right; null: not yet. */
  verifiedAt: timestamp.nullable(),
  /** When its file was removed: the stage's result is stored. Null while attempts can resume from it. */
  removedAt: timestamp.nullable(),
});
/** Newest first, at most 1,000. */
export const checkpointList = z.object({ items: z.array(checkpointView), total: z.number().int() });
export type CheckpointList = z.infer<typeof checkpointList>;

/** What became of the file of a checkpoint. */
export function checkpointFate({ final, removedAt }: Pick<z.infer<typeof checkpointView>, 'final' | 'removedAt'>): string {
  if (removedAt !== null) return 'removed: the result of the stage is stored';
  return final ? 'the result of the stage' : 'kept: an attempt can resume from it';
}
