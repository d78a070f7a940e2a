import { z } from 'zod';
import { idOf, largestInt4, sha256Hex, timestamp } from './names.ts';
import { writtenText } from './text.ts';

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
