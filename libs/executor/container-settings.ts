import { z } from 'zod';
import type { LaunchSpec } from './executor.ts';

/** The format of a Kubernetes quantity: `8`, `500m`, `64Gi`, `1e3`. */
const quantityPattern = /^(\d+(?:\.\d+)?(?:[eE]\d+)?)([num]|[kMGTPE]|[KMGTPE]i)?$/;

/** A Kubernetes quantity as a number: bytes, cores or pieces. NaN if it is not one. */
export function parseQuantity(text: string): number {
  const [, digits, suffix = ''] = quantityPattern.exec(text) ?? [];
  return digits === undefined ? Number.NaN : Number(digits) * (factors[suffix] ?? Number.NaN);
}

export const quantity = z.string().regex(quantityPattern, 'a quantity such as 500m, 8 or 64Gi');
export const seconds = z.number().int().min(1);
export const path = z.string().regex(/^\/[^:]*$/, 'an absolute path');

/** Settings of every pool whose attempts are containers. */
export const containerSettings = {
  image: z.string().min(1).describe('the worker image, by digest: registry/name@sha256:...'),
  allowTags: z.boolean().default(false).describe('allow an image without a digest: its content may then change unnoticed'),
  command: z.array(z.string()).min(1).optional().describe("the agent's program and arguments; default: those of the image"),
  env: z
    .record(z.string().regex(/^[A-Za-z_][A-Za-z0-9_]*$/), z.string())
    .default({})
    .describe('environment of the agent; overrides what the controller gives to every agent'),
  sharedMemory: quantity.optional().describe('size of /dev/shm; default: what the loaders need, at least 1Gi'),
  runAsUser: z.number().int().min(1).default(10001).describe('the user id; never root'),
  graceSeconds: seconds.default(60).describe('from SIGTERM to SIGKILL: the time for a last checkpoint'),
  deadlineSeconds: seconds
    .optional()
    .describe('how long an attempt may run before it saves a checkpoint and its step fails; default: no limit'),
};

type Given = { image: string; allowTags: boolean; env: Record<string, string> };

/** Reports settings of containers that contradict each other. */
export function refineContainer(pool: Given, context: z.RefinementCtx): void {
  if (!pool.allowTags && !/(@|^)sha256:[0-9a-f]{64}$/.test(pool.image)) {
    context.addIssue({ code: 'custom', path: ['image'], message: 'pin the image by digest (name@sha256:...), or set allowTags' });
  }
  if (Object.keys(pool.env).some((name) => name.startsWith('CAIRN_ATTEMPT_'))) {
    context.addIssue({ code: 'custom', path: ['env'], message: 'the variables CAIRN_ATTEMPT_* are set for each attempt' });
  }
}

/** What NCCL and PyTorch themselves need, enough for a pod without loaders. */
const minBytes = 2 ** 30;

/** Bytes of /dev/shm: the pool's setting, or else what the attempt needs. A container's default 64 MB would kill a loader with "Bus error". */
export function sharedMemoryBytes(
  { loaderBytes = 0 }: Pick<LaunchSpec, 'loaderBytes'>,
  { sharedMemory }: { sharedMemory?: string | undefined },
): number {
  return sharedMemory === undefined ? minBytes + loaderBytes : parseQuantity(sharedMemory);
}

const factors: Readonly<Record<string, number>> = {
  n: 1e-9,
  u: 1e-6,
  m: 1e-3,
  '': 1,
  k: 1e3,
  M: 1e6,
  G: 1e9,
  T: 1e12,
  P: 1e15,
  E: 1e18,
  Ki: 2 ** 10,
  Mi: 2 ** 20,
  Gi: 2 ** 30,
  Ti: 2 ** 40,
  Pi: 2 ** 50,
  Ei: 2 ** 60,
};
