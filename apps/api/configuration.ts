import { defaultLimits } from '@cairn/engine';
import { datasetRootsVariables, deliveryHostsVariable, logLevels, secretKeysVariable } from '@cairn/runtime';
import { z } from 'zod';

export const megabyte = 1_000_000;
const rate = z.coerce.number().min(0).max(1_000_000);
const quota = z.coerce.number().int().min(0).max(1_000_000_000);
const port = z.coerce.number().int().min(0).max(65_535);

/** The environment variables of the api. */
export const apiConfiguration = z.object({
  CAIRN_DATABASE_URL: z
    .url({ protocol: /^postgres(ql)?$/, error: 'is not the address of a PostgreSQL database' })
    .describe('the address of the PostgreSQL database')
    .meta({ example: 'postgres://cairn:password@127.0.0.1:5432/cairn', secret: true }),
  CAIRN_STORAGE_URL: z.string().min(1).describe('where artifacts are stored').meta({ example: 'file:///var/lib/cairn/storage' }),
  CAIRN_SERVER_KEY: z
    .string()
    .min(32)
    .describe('the secret that signs attempt tokens, at least 32 characters, the same for every program')
    .meta({ example: '$(openssl rand -hex 32)', secret: true }),
  CAIRN_SECRETS_KEYS: secretKeysVariable,
  CAIRN_ADMIN_TOKEN: z
    .string()
    .min(24)
    .regex(/^[\x21-\x7e]+$/, 'use visible ASCII characters without spaces')
    .optional()
    .describe('a token with the role admin that exists from the start')
    .meta({ example: 'cairn_$(openssl rand -hex 32)', secret: true }),
  CAIRN_API_HOST: z.string().default('127.0.0.1').describe('the address that /v1 is served on'),
  CAIRN_API_PORT: port.default(8080).describe('the port of /v1; 0 takes any'),
  CAIRN_INTERNAL_HOST: z.string().default('127.0.0.1').describe('the address that /internal is served on'),
  CAIRN_INTERNAL_PORT: port.default(8081).describe('the port of /internal; 0 takes any'),
  CAIRN_METRICS_HOST: z.string().default('127.0.0.1').describe('the address that /metrics is served on without a token'),
  CAIRN_METRICS_PORT: port
    .optional()
    .describe('the port of /metrics without a token; if unset, /metrics requires a token, on the port of /v1'),
  CAIRN_TRUSTED_PROXIES: z
    .string()
    .transform((text) => text.split(',').map((address) => address.trim()))
    .pipe(z.array(z.union([z.ipv4(), z.ipv6(), z.cidrv4(), z.cidrv6()], 'use addresses or CIDR blocks, separated by commas')))
    .default([])
    .describe('addresses of proxies whose X-Forwarded-For is trusted')
    .meta({ example: '10.0.0.0/8' }),
  CAIRN_TOKEN_RATE: rate.default(100).describe('calls per second of one token; 0 is unlimited'),
  CAIRN_ADDRESS_RATE: rate.default(20).describe('calls per second of one address without a known token; 0 is unlimited'),
  CAIRN_TRIGGER_RATE: rate.default(10).describe('deliveries per second of one trigger; 0 is unlimited'),
  CAIRN_MAX_CONNECTIONS: quota.default(4_096).describe('connections to each of the two ports; 0 is unlimited'),
  CAIRN_ADDRESS_CONNECTIONS: quota.default(512).describe('of them from one address that is not a trusted proxy; 0 is unlimited'),
  CAIRN_PROJECT_RUNS: quota.default(defaultLimits.projectRuns).describe('live runs of a project; 0 is unlimited'),
  CAIRN_OWNER_RUNS: quota.default(defaultLimits.ownerRuns).describe('live runs of one owner; 0 is unlimited'),
  CAIRN_PROJECT_WEIGHTS: quota.default(1_000).describe('imported weights of a project; 0 is unlimited'),
  CAIRN_OWNER_WEIGHTS: quota.default(200).describe('imported weights of one owner; 0 is unlimited'),
  CAIRN_PROJECT_WEIGHTS_GB: quota.default(500).describe('gigabytes of imported weights of a project; 0 is unlimited'),
  CAIRN_OWNER_WEIGHTS_GB: quota.default(100).describe('gigabytes of imported weights of one owner; 0 is unlimited'),
  CAIRN_ATTEMPT_LOG_MB: quota
    .default(defaultLimits.attemptLogBytes / megabyte)
    .describe('megabytes to keep of the log of one attempt; 0 is unlimited'),
  CAIRN_RUN_LOG_MB: quota
    .default(defaultLimits.runLogBytes / megabyte)
    .describe('megabytes to keep of the logs of one run; 0 is unlimited'),
  CAIRN_DATABASE_CONNECTIONS: z.coerce.number().int().min(2).max(200).default(16).describe('the most connections to the database'),
  CAIRN_HANG_SECONDS: z.coerce
    .number()
    .int()
    .min(10)
    .max(86_400)
    .default(defaultLimits.hangSeconds)
    .describe('an attempt without progress for this many seconds hangs: its stacks are logged and it is retried'),
  ...deliveryHostsVariable,
  CAIRN_CACHE_MB: quota
    .default(4_000)
    .describe('megabytes of files that the api keeps in TMPDIR because they are asked for again: pictures, lists, models and features'),
  ...datasetRootsVariables,
  CAIRN_LOG_LEVEL: z.enum(logLevels).default('info').describe('how much is logged'),
});
export type ApiConfiguration = z.infer<typeof apiConfiguration>;
