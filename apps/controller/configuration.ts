import { CairnError } from '@cairn/contract';
import { defaultLimits } from '@cairn/engine';
import { datasetRootsVariables, deliveryHostsVariable, logLevels, probeVariables, secretKeysVariable } from '@cairn/runtime';
import { z } from 'zod';
import { poolsVariable } from './pools.ts';

/** A valid Kubernetes label value, since it is used as one. */
const instanceName = z
  .string()
  .regex(/^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$/, 'use at most 63 letters, digits, dashes, dots and underscores');

const quota = z.coerce.number().int().min(0).max(1_000_000_000);

/** The controller's environment variables. */
export const configurationSchema = z.object({
  CAIRN_DATABASE_URL: z
    .string()
    .startsWith('postgres')
    .describe('the PostgreSQL database')
    .meta({ example: 'postgres://cairn:password@db:5432/cairn', secret: true }),
  CAIRN_QUEUE_URL: z.string().optional().meta({ example: 'redis://redis:6379', secret: true }),
  CAIRN_STORAGE_URL: z.string().min(1).describe('the object storage').meta({ example: 'file:///var/lib/cairn/storage' }),
  CAIRN_SERVER_KEY: z
    .string()
    .min(32)
    .describe('the key that signs the tokens of attempts')
    .meta({ example: 'the output of `openssl rand -hex 32`', secret: true }),
  CAIRN_SECRETS_KEYS: secretKeysVariable,
  CAIRN_INTERNAL_URL: z.string().min(1).describe('where attempts reach the control plane').meta({ example: 'http://127.0.0.1:8081' }),
  CAIRN_PUBLIC_URL: z
    .url({ protocol: /^https?$/ })
    .transform((url) => url.replace(/\/+$/, ''))
    .optional()
    .describe('the address of the service for people: reports to code hosts link to it')
    .meta({ example: 'https://cairn.example.org' }),
  ...deliveryHostsVariable,
  CAIRN_POOLS: poolsVariable
    .describe('the pools that attempts run in, as JSON')
    .meta({ example: '[{"name":"local","executor":"process","slots":2}]' }),
  CAIRN_INSTANCE: instanceName.default('cairn').describe('the name of this installation in a cluster').meta({ example: 'cairn' }),
  CAIRN_TASK_SLOTS: z.coerce.number().int().min(1).max(4096).default(2),
  CAIRN_STATE_DIR: z.string().min(1).describe('folder for process records and work').meta({ example: '/var/lib/cairn/state' }),
  CAIRN_PYTHON: z.string().min(1).describe("the trainer's Python interpreter").meta({ example: '/opt/cairn/python/bin/python' }),
  ...datasetRootsVariables,
  ...probeVariables,
  CAIRN_PROJECT_RUNS: quota.default(defaultLimits.projectRuns).describe('live runs of a project, for schedules; 0 is unlimited'),
  CAIRN_OWNER_RUNS: quota.default(defaultLimits.ownerRuns).describe('live runs of one owner, for schedules; 0 is unlimited'),
  CAIRN_LEADER_TTL_MS: z.coerce.number().int().min(500).max(60_000).default(5_000),
  CAIRN_LOG_LEVEL: z.enum(logLevels).default('info'),
});
export type Configuration = z.infer<typeof configurationSchema>;

export const agentEntry = new URL('../worker/main.ts', import.meta.url).pathname;

/** A row may name a pool of an earlier configuration: the operator's error, not a crash. */
export const unknownPool = (name: string): CairnError =>
  new CairnError(
    'invalid_configuration',
    `an attempt belongs to the pool "${name}", which is missing from CAIRN_POOLS; restore it until its attempts have ended`,
  );
