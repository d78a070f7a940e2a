import { z } from 'zod';
import { idOf, timestamp } from './names.ts';
import { labelText } from './origin.ts';
import { artifactKind } from './states.ts';

// How long results are kept, and what a collection removes.

/** PUT /v1/retention. What a policy does not name is kept. */
export const retentionPolicy = z.strictObject({
  /** The results of runs that ended longer ago than this go; null: those of no run. */
  runsOlderThanDays: z.number().int().min(1).max(10_000).nullable().default(null),
  /** The newest checkpoints that are kept of a stage that ended without a result, for a retry to continue from. */
  checkpoints: z.number().int().min(0).max(100).default(0),
  /** Runs with one of these labels keep their results. */
  keepLabels: z.array(labelText).max(20).default([]),
  /** How often the leader collects; null: only `cairn gc` does. */
  everyHours: z.number().int().min(1).max(10_000).nullable().default(24),
});
export type RetentionPolicy = z.infer<typeof retentionPolicy>;

/** `setBy` is null until a policy is set: then nothing is removed but garbage, and only by hand. */
export const retentionView = retentionPolicy.extend({
  setBy: z.string().nullable(),
  updatedAt: timestamp.nullable(),
  /** When the leader last began a collection, or the first policy was set. */
  collectedAt: timestamp.nullable(),
});
export type RetentionView = z.infer<typeof retentionView>;

/** The policy until one is set. */
export const noRetention: RetentionPolicy = { runsOlderThanDays: null, checkpoints: 0, keepLabels: [], everyHours: null };

const counted = (count: number, noun: string): string => `${count} ${noun}${count === 1 ? '' : 's'}`;

/** What a policy does, in sentences. */
export function retentionSentences({ setBy, runsOlderThanDays, checkpoints, keepLabels, everyHours }: RetentionView): string[] {
  if (setBy === null) return ['No policy is set: runs keep their results, and `cairn gc` removes what nothing refers to.'];
  const labels = keepLabels.length === 0 ? '' : `, runs labelled ${keepLabels.join(' or ')}`;
  return [
    runsOlderThanDays === null
      ? 'Runs keep their results.'
      : `Runs give up their results ${counted(runsOlderThanDays, 'day')} after they ended; what they measured stays. Pinned runs${labels} and those whose model has or had an alias keep them.`,
    checkpoints === 0
      ? 'Checkpoints of stages that ended without a result are removed.'
      : `Of a stage that ended without a result, the newest ${counted(checkpoints, 'checkpoint')} stay.`,
    everyHours === null ? 'Only `cairn gc` collects.' : `The leader collects every ${counted(everyHours, 'hour')}.`,
  ];
}

/** When the leader collects next; null: it does not. A policy that was just set has that time as `collectedAt`. */
export function nextCollectionOf({ setBy, everyHours, collectedAt }: RetentionView): Date | null {
  if (setBy === null || everyHours === null || collectedAt === null) return null;
  return new Date(Date.parse(collectedAt) + everyHours * 3_600_000);
}

/** What a run keeps of its results whatever the policy: what it measured, and the cards of its models. They are small. */
export const keptKinds = ['evaluation', 'registration'] as const satisfies readonly z.infer<typeof artifactKind>[];

/** Why an artifact stays. */
export const keepReason = z.enum([
  'live',
  'pinned',
  'labelled',
  'aliased',
  'no-policy',
  'young',
  'measured',
  'weights',
  'read',
  'new',
  'building',
]);
export type KeepReason = z.infer<typeof keepReason>;

/** Which artifact this is, or which these are. */
export const keepWords = {
  live: 'read or made by a run that has not ended',
  pinned: 'of a pinned run',
  labelled: 'of a run with a label that the policy keeps',
  aliased: 'of a run whose model an alias names or named',
  'no-policy': 'of a run, and no policy removes the results of runs',
  young: 'of a run that ended too short a time ago',
  measured: 'what runs measured stays',
  weights: 'imported weights with a name',
  read: 'read by a run that keeps its results, or by a model',
  new: 'newer than what the collection looks at',
  building: 'being built',
} as const satisfies Record<KeepReason, string>;

/** POST /v1/gc: applies the policy, then removes what nothing refers to. */
export const gcRequest = z.strictObject({
  dryRun: z.boolean().default(false),
  olderThanHours: z.number().min(0).max(1_000_000).default(24),
});

/** Most things of each kind that a result lists; `totals` counts all. */
export const maxCollected = 1_000;

const countedArtifacts = z.object({ artifacts: z.number().int(), bytes: z.number().int() });
const collectedArtifact = z.object({ id: z.string(), kind: artifactKind, bytes: z.number().int(), why: z.string().default('') });

export const gcResult = z.object({
  dryRun: z.boolean(),
  /** Largest first, as `kept`. */
  artifacts: z.array(collectedArtifact),
  stagingPrefixes: z.array(z.string()),
  /** Curves of attempts whose result was abandoned. */
  logPrefixes: z.array(z.string()).default([]),
  /** Removed bytes; those of artifacts alone in a dry run. */
  bytes: z.number().int(),
  /** Runs whose results the policy gives up. */
  runs: z.array(z.object({ id: idOf('run'), name: z.string(), endedAt: timestamp })).default([]),
  /** Only in a dry run: what stays, and why. */
  kept: z.array(collectedArtifact).default([]),
  totals: z
    .object({
      ...{ artifacts: z.number().int(), bytes: z.number().int(), runs: z.number().int() },
      ...{ stagingPrefixes: z.number().int(), logPrefixes: z.number().int() },
      /** Only in a dry run. */
      kept: z.array(countedArtifacts.extend({ reason: keepReason, why: z.string() })),
    })
    .optional(),
});
export type GcResult = z.infer<typeof gcResult>;
