import { z } from 'zod';

/**
 * What an executor can observe about an attempt that waits, is in trouble or has ended, named after the symptom, not the cause.
 * `failureTable` in libs/domain defines what each one means and what is done.
 */
export const failureSignal = z.enum([
  // The attempt waits: nothing of it runs yet.
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
  // The attempt runs, and something is wrong around it.
  'node_silent',
  'gpu_unhealthy',
  // The attempt was ended from outside, or ended without reporting to the control plane.
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

/** A signal observed about one attempt. */
export type Finding = {
  signal: FailureSignal;
  /** When it began, in milliseconds since the epoch, as far as is known. */
  since: number;
  /** Details in the words of the program that reported it: a node, an image, the scheduler's reason. */
  message: string;
};
