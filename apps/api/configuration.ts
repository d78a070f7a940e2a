import { defaultLimits } from '@cairn/engine';
import { datasetRootsVariables, logLevels } from '@cairn/runtime';
import { z } from 'zod';

const port = z.coerce.number().int().min(0).max(65_535);

/** The environment variables of the api. */
export const apiConfiguration = z.object({
  CAIRN_DATABASE_URL: z
    .url({ protocol: /^postgres(ql)?$/, error: 'is no address of a PostgreSQL database' })
    .describe('the address of the PostgreSQL database')
    .meta({ example: 'postgres://cairn:password@127.0.0.1:5432/cairn', secret: true }),
  CAIRN_STORAGE_URL: z.string().min(1).describe('where artifacts are stored').meta({ example: 'file:///var/lib/cairn/storage' }),
  CAIRN_SERVER_KEY: z
    .string()
    .min(32)
    .describe('the secret that attempt tokens are made with, at least 32 characters, the same for every program')
    .meta({ example: '$(openssl rand -hex 32)', secret: true }),
  CAIRN_ADMIN_TOKEN: z
    .string()
    .min(24)
    .regex(/^[\x21-\x7e]+$/, 'use visible ASCII characters without spaces')
    .optional()
    .describe('a token with the role admin that is there from the start')
    .meta({ example: 'cairn_$(openssl rand -hex 32)', secret: true }),
  CAIRN_API_HOST: z.string().default('127.0.0.1').describe('the address that /v1 is served on'),
  CAIRN_API_PORT: port.default(8080).describe('the port of /v1; 0 takes any'),
  CAIRN_INTERNAL_HOST: z.string().default('127.0.0.1').describe('the address that /internal is served on'),
  CAIRN_INTERNAL_PORT: port.default(8081).describe('the port of /internal; 0 takes any'),
  CAIRN_DATABASE_CONNECTIONS: z.coerce.number().int().min(2).max(200).default(16).describe('the most connections to the database'),
  CAIRN_HANG_SECONDS: z.coerce
    .number()
    .int()
    .min(10)
    .max(86_400)
    .default(defaultLimits.hangSeconds)
    .describe('an attempt without progress for so many seconds hangs: its stacks are logged and it is tried again'),
  ...datasetRootsVariables,
  CAIRN_LOG_LEVEL: z.enum(logLevels).default('info').describe('how much is logged'),
});
export type ApiConfiguration = z.infer<typeof apiConfiguration>;
