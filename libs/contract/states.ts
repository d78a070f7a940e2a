import { z } from 'zod';

/** The states of a run. `held` waits for something outside the queue (budget, concurrency, a person). */
export const runState = z.enum(['held', 'queued', 'running', 'cancelling', 'succeeded', 'failed', 'cancelled']);
export type RunState = z.infer<typeof runState>;

/** The judgement of a run's quality gate, apart from its state: a worse model is a succeeded run with a failed verdict. */
export const runVerdict = z.enum(['none', 'passed', 'failed']);
export type RunVerdict = z.infer<typeof runVerdict>;

/** The states of a step: one node of a run's graph. */
export const stepState = z.enum(['blocked', 'ready', 'active', 'succeeded', 'reused', 'failed', 'cancelled']);
export type StepState = z.infer<typeof stepState>;

/** The states of an attempt: one process's (or pod's) try at a step. */
export const attemptState = z.enum([
  'created',
  'launching',
  'running',
  'stopping',
  'succeeded',
  'failed',
  'preempted',
  'cancelled',
  'lost',
]);
export type AttemptState = z.infer<typeof attemptState>;

/** Why an attempt ended badly: each cause has a budget of retries of its own. */
export const attemptCause = z.enum(['user', 'data', 'infrastructure', 'preemption', 'gpu', 'deadline']);
export type AttemptCause = z.infer<typeof attemptCause>;

/** Why the control plane asks an attempt to stop. What it says to people is a sentence beside it. */
export const stopCause = z.enum([
  /** Its run was cancelled. */
  'cancelled',
  /** Another attempt of the step used up the retries: the step fails, and what this one would make is of no use. */
  'step_failed',
  /** Its room is needed by another step; the step goes on later. */
  'preempted',
]);
export type StopCause = z.infer<typeof stopCause>;

/** The states of a shard: a contiguous piece of an extraction, leased by an attempt. */
export const shardState = z.enum(['pending', 'leased', 'committed', 'split', 'rejected']);
export type ShardState = z.infer<typeof shardState>;

/** The states of an artifact. PostgreSQL decides which exists; the manifest, written last, proves it. */
export const artifactState = z.enum(['building', 'ready', 'deleting']);
export type ArtifactState = z.infer<typeof artifactState>;

/** The kinds of steps. */
export const stepKind = z.enum(['prepare', 'train', 'export', 'extract', 'search', 'evaluate', 'register']);
export type StepKind = z.infer<typeof stepKind>;

/** What a step leaves behind, or a person brought in (`weights`; `checkpoint` too). */
export const artifactKind = z.enum(['lists', 'checkpoint', 'model', 'features', 'neighbours', 'evaluation', 'registration', 'weights']);
export type ArtifactKind = z.infer<typeof artifactKind>;

/** Roles of tokens, each including the ones before it. */
export const tokenRole = z.enum(['viewer', 'submitter', 'admin']);
export type TokenRole = z.infer<typeof tokenRole>;
