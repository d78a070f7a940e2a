import { z } from 'zod';

/**
 * What an executor can see of an attempt that waits, suffers or has ended, each named after the sign and not after the
 * cause. `failureTable` of libs/domain tells what each one means and what is done.
 */
export const failureSignal = z.enum([
  // It waits: nothing of it runs yet.
  'queued',
  'quota_exceeded',
  'no_pod',
  'unschedulable',
  'image_pull',
  'image_registry_busy',
  'image_name_invalid',
  'container_configuration',
  'container_creation',
  'container_creating',
  // It runs, and something is wrong around it.
  'node_silent',
  'gpu_unhealthy',
  // It was ended, or ended by itself without a word to the control plane.
  'container_start',
  'admission_refused',
  'ended_without_result',
  'agent_failed',
  'agent_configuration',
  'agent_superseded',
  'agent_preempted',
  'out_of_memory',
  'shared_memory_full',
  'killed',
  'node_pressure',
  'node_shutdown',
  'preempted',
  'drained',
  'node_lost',
  'node_gone',
  'failed_beside_sick_gpu',
  'deadline_exceeded',
  'pod_gone',
]);
export type FailureSignal = z.infer<typeof failureSignal>;

/** One such sign of one attempt. */
export type Finding = {
  signal: FailureSignal;
  /** Milliseconds since the epoch at which it began, as far as can be told. */
  since: number;
  /** What is particular to this case, in the words of whoever reported it: a node, an image, the scheduler's reason. */
  message: string;
};
