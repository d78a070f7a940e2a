import { execFile } from 'node:child_process';
import { appendFile, chown, mkdir, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import {
  createLogger,
  type EmbeddedPostgres,
  type EmbeddedPostgresOptions,
  identityOf,
  isAlive,
  startEmbeddedPostgres,
} from '@cairn/runtime';
import { withClient } from './create-database.ts';
import { makeRunFolder, removeRunFolder } from './run-folder.ts';
import { waitFor } from './wait-for.ts';

export type TestPostgres = EmbeddedPostgres & {
  dataDir: string;
  /** Stops it, cleanly or like a crash; `restart` brings it back on the same port. */
  end(signal?: 'SIGINT' | 'SIGKILL'): Promise<void>;
};

export type TestPostgresOptions = Partial<EmbeddedPostgresOptions> & {
  /** The address of this machine for others, such as pods; by default 127.0.0.1, which only programs of this machine can reach. */
  host?: string;
};

/**
 * The test's own PostgreSQL, without safety against power failures: for tests that stop, kill or restart one. Other
 * tests use a database of the shared server with `createDatabase`. It ends with `stop`, or with this process.
 */
export async function startPostgres({ host, ...options }: TestPostgresOptions = {}): Promise<TestPostgres> {
  const folder = options.dataDir ?? (await makeRunFolder());
  const dataDir = options.dataDir ?? join(folder, 'postgres');
  const server = await startEmbeddedPostgres({
    durable: false,
    log: createLogger({ name: 'postgres', level: 'silent' }),
    ...options,
    dataDir,
    // Shared memory in the data folder: a killed server leaves nothing in /dev/shm.
    settings: {
      max_connections: 300,
      shared_buffers: '64MB',
      dynamic_shared_memory_type: 'mmap',
      ...(host !== undefined && { listen_addresses: `127.0.0.1,${host}` }),
      ...options.settings,
    },
  });
  if (host !== undefined) await acceptRemote(server.url, join(dataDir, 'cluster'));
  return {
    ...server,
    url: host === undefined ? server.url : server.url.replace('@127.0.0.1:', `@${host}:`),
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

/** By default a new cluster accepts only connections from this machine. */
async function acceptRemote(url: string, cluster: string): Promise<void> {
  await appendFile(join(cluster, 'pg_hba.conf'), 'host all all all scram-sha-256\n');
  await withClient(url, (client) => client.query('select pg_reload_conf()'));
}

const run = promisify(execFile);

/**
 * A backup of a running server: a folder, for `startPostgres` as `dataDir`. It is the base backup that PostgreSQL documents
 * under "Making a Base Backup Using the Low Level API". The caller removes it.
 */
export async function backUpPostgres({ url, dataDir }: Pick<TestPostgres, 'url' | 'dataDir'>): Promise<string> {
  const folder = await makeRunFolder();
  const [from, to] = [join(dataDir, 'cluster'), join(folder, 'cluster')];
  const { uid, gid, mode } = await stat(from);
  await mkdir(to, { mode });
  for (const path of [folder, to]) await chown(path, uid, gid);
  const copy = (source: string, target: string) => run('cp', ['--archive', source, target]);
  await copy(join(dataDir, 'password'), folder);
  await withClient(url, async (client) => {
    await client.query("select pg_backup_start('test', true)");
    for (const name of await readdir(from)) if (name !== 'pg_wal' && name !== 'postmaster.pid') await copy(join(from, name), to);
    const { rows } = await client.query<{ labelfile: string }>('select labelfile from pg_backup_stop(false)');
    // Written in the meantime; no archiver keeps it.
    await copy(join(from, 'pg_wal'), to);
    await writeFile(join(to, 'backup_label'), rows[0]?.labelfile ?? '');
    await chown(join(to, 'backup_label'), uid, gid);
    await rm(join(to, 'pg_wal', 'archive_status'), { recursive: true, force: true });
  });
  return folder;
}
