import { join } from 'node:path';
import {
  createLogger,
  type EmbeddedPostgres,
  type EmbeddedPostgresOptions,
  identityOf,
  isAlive,
  startEmbeddedPostgres,
} from '@cairn/runtime';
import { makeRunFolder, removeRunFolder } from './run-folder.ts';
import { waitFor } from './wait-for.ts';

export type TestPostgres = EmbeddedPostgres & {
  dataDir: string;
  /** Ends it, in good order or as a crash would; `restart` brings it back on the same port. */
  end(signal?: 'SIGINT' | 'SIGKILL'): Promise<void>;
};

/**
 * A PostgreSQL of the test's own, without safety against power failure: for tests that stop, kill or restart one. Other
 * tests take a database of the shared server with `createDatabase`. It ends with `stop`, or with this process.
 */
export async function startPostgres(options: Partial<EmbeddedPostgresOptions> = {}): Promise<TestPostgres> {
  const folder = options.dataDir ?? (await makeRunFolder());
  const dataDir = options.dataDir ?? join(folder, 'postgres');
  const server = await startEmbeddedPostgres({
    durable: false,
    log: createLogger({ name: 'postgres', level: 'silent' }),
    ...options,
    dataDir,
    // Shared memory in the data folder: a killed server leaves nothing in /dev/shm.
    settings: { max_connections: 300, shared_buffers: '64MB', dynamic_shared_memory_type: 'mmap', ...options.settings },
  });
  return {
    ...server,
    dataDir,
    async end(signal = 'SIGINT') {
      const identity = identityOf(server.pid());
      if (identity === null) return;
      process.kill(identity.pid, signal);
      await waitFor(() => !isAlive(identity), { message: 'PostgreSQL to end' });
    },
    async stop() {
      await server.stop();
      if (options.dataDir === undefined) await removeRunFolder(folder);
    },
  };
}
