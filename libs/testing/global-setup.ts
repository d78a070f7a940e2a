import { homedir } from 'node:os';
import { join } from 'node:path';
import { createCloser } from '@cairn/runtime';
import type { TestProject } from 'vitest/node';
import { type Provided, sweepRunFolders } from './run-folder.ts';
import { startPostgres } from './start-postgres.ts';
import { findS3Server } from './start-s3.ts';
import { findValkeyServer, startValkey } from './start-valkey.ts';

/**
 * vitest's global setup: one PostgreSQL and one Valkey for the whole run, or those of CAIRN_TEST_POSTGRES_URL (of an
 * administrator) and CAIRN_TEST_REDIS_URL. They end with the run, however it ends.
 */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const { CAIRN_TEST_POSTGRES_URL, CAIRN_TEST_REDIS_URL, CAIRN_PYTHON, XDG_CACHE_HOME } = process.env;
  await sweepRunFolders();
  const closer = createCloser();
  const cacheDir = join(XDG_CACHE_HOME || join(homedir(), '.cache'), 'cairn');
  const place = { python: CAIRN_PYTHON || undefined, cacheDir };
  // Only the tests of S3 start one; elsewhere its absence is not an error.
  const s3Server = await findS3Server(place).catch(() => '');
  const valkeyServer = await findValkeyServer(place).catch((error: unknown) => {
    // With a Redis from the environment, only the tests that restart one do without.
    if (CAIRN_TEST_REDIS_URL) return '';
    throw error;
  });

  async function postgres(): Promise<string> {
    if (CAIRN_TEST_POSTGRES_URL) return CAIRN_TEST_POSTGRES_URL;
    const server = await startPostgres();
    closer.add('PostgreSQL', () => server.stop());
    return server.url;
  }
  async function redis(): Promise<string> {
    if (CAIRN_TEST_REDIS_URL) return CAIRN_TEST_REDIS_URL;
    const server = await startValkey({ program: valkeyServer });
    closer.add('Valkey', () => server.stop());
    return server.url;
  }

  try {
    const [postgresUrl, redisUrl] = await Promise.all([postgres(), redis()]);
    const values: Provided = { postgresUrl, redisUrl, valkeyServer, s3Server };
    project.provide('postgresUrl', values.postgresUrl);
    project.provide('redisUrl', values.redisUrl);
    project.provide('valkeyServer', values.valkeyServer);
    project.provide('s3Server', values.s3Server);
  } catch (error) {
    await closer.close();
    throw error;
  }
  return () => closer.close(30_000);
}
