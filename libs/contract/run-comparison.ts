import { z } from 'zod';
import { idOf, timestamp } from './names.ts';
import { runListItem } from './rest.ts';
import { stepKind, stepState } from './states.ts';

// Several runs side by side: what differs in their settings, and what became of their steps.

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
