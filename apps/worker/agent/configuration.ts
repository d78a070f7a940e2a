import { idOf } from '@cairn/contract';
import { datasetRootsVariables, logLevels } from '@cairn/runtime';
import { z } from 'zod';

/** One or more addresses, separated by commas. */
export const addresses = z
  .string()
  .transform((text) => text.split(',').map((url) => url.trim()))
  .pipe(z.array(z.url({ protocol: /^https?$/, message: 'is not an http address' })).min(1));

/** Shared by an agent and the worker that starts agents. */
export const commonVariables = {
  CAIRN_INTERNAL_URL: addresses
    .describe("address of the control plane's internal port; several are separated by commas")
    .meta({ example: 'http://127.0.0.1:8081' }),
  CAIRN_STORAGE_URL: z.string().min(1).describe('where objects are stored').meta({ example: 'file:///var/lib/cairn/objects' }),
  CAIRN_PYTHON: z.string().min(1).default('python3').describe('the interpreter that has the packages of docker/trainer'),
  ...datasetRootsVariables,
  CAIRN_LOG_LEVEL: z.enum(logLevels).default('info'),
};

/** The environment of `main.ts agent`. */
export const agentVariables = z.object({
  ...commonVariables,
  CAIRN_ATTEMPT_ID: idOf('attempt').describe('the attempt to run'),
  CAIRN_ATTEMPT_GENERATION: z.coerce.number().int().min(0).describe("the attempt's generation"),
  CAIRN_ATTEMPT_TOKEN: z.string().min(1).describe("the attempt's token").meta({ secret: true }),
  CAIRN_IMAGE_CACHE: z
    .string()
    .min(1)
    .optional()
    .describe('a folder of this node, in which the images of datasets at addresses are kept while a stage reads them')
    .meta({ example: '/var/cache/cairn' }),
  CAIRN_IMAGE_CACHE_GIB: z.coerce.number().int().min(1).max(1_000_000).default(100).describe('the most that CAIRN_IMAGE_CACHE may hold'),
  CAIRN_WORK_DIR: z.string().min(1).describe("the attempt's own folder").meta({ example: '/var/lib/cairn/attempt' }),
  /** GPUs of this pod: extraction runs one process on each; 0 runs one on the CPU. */
  CAIRN_GPUS: z.coerce.number().int().min(0).max(64).default(0),
  /** How long the sender of SIGTERM waits before it kills. A grace period from the control plane takes precedence. */
  CAIRN_STOP_GRACE_SECONDS: z.coerce.number().min(0).default(25),
  /** How long the attempt may run before it saves its work, within the grace period, and fails. Absent: no limit. */
  CAIRN_DEADLINE_SECONDS: z.coerce.number().min(0).optional(),
});
export type AgentConfiguration = z.infer<typeof agentVariables>;
