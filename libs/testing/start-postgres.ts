import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
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
import pg from 'pg';
import { makeRunFolder, provided, removeRunFolder } from './run-folder.ts';
import { waitFor } from './wait-for.ts';

export type TestPostgres = EmbeddedPostgres & {
  dataDir: string;
  /** Stops it, cleanly or like a crash; `restart` brings it back on the same port. */
  end(signal?: 'SIGINT' | 'SIGKILL'): Promise<void>;
};

type TestPostgresOptions = Partial<EmbeddedPostgresOptions> & {
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

type DatabaseTemplate = {
  /** Identifies the content: the same key means the same migrations (a digest of them, where a server outlives a run). */
  key: string;
  /** Fills the template, once for all test files; must not leave a connection behind. */
  migrate: (url: string) => Promise<void>;
};

type TestDatabase = {
  name: string;
  url: string;
  /** Closes all connections and removes the database. */
  drop(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
};

/** A fresh database for one test file: a clone of the template, which the first caller of its key creates. */
export async function createDatabase(options: { template?: DatabaseTemplate; postgresUrl?: string } = {}): Promise<TestDatabase> {
  const adminUrl = options.postgresUrl ?? provided('postgresUrl');
  const name = `test_${randomBytes(6).toString('hex')}`;
  const { template } = options;
  await withClient(adminUrl, async (admin) => {
    const source = template === undefined ? undefined : await ensureTemplate(admin, adminUrl, template);
    await admin.query(`create database ${name}${source === undefined ? '' : ` template ${pg.escapeIdentifier(source)}`}`);
  });
  const drop = () => withClient(adminUrl, (admin) => admin.query(`drop database if exists ${name} with (force)`)).then(() => undefined);
  return { name, url: urlOf(adminUrl, name), drop, [Symbol.asyncDispose]: drop };
}

async function ensureTemplate(admin: pg.Client, adminUrl: string, { key, migrate }: DatabaseTemplate): Promise<string> {
  const name = `template_${key}`.slice(0, 63);
  const identifier = pg.escapeIdentifier(name);
  // Test files run in many processes: the first takes the lock and migrates, the others find the template ready.
  await admin.query('select pg_advisory_lock(hashtext($1))', [name]);
  try {
    const { rowCount } = await admin.query('select from pg_database where datname = $1 and datistemplate', [name]);
    if (rowCount === 0) {
      await admin.query(`drop database if exists ${identifier} with (force)`);
      await admin.query(`create database ${identifier}`);
      await migrate(urlOf(adminUrl, name));
      await admin.query(`alter database ${identifier} with is_template true allow_connections false`);
      // A pool that closes lazily would prevent cloning the template.
      await admin.query('select pg_terminate_backend(pid) from pg_stat_activity where datname = $1', [name]);
    }
  } finally {
    await admin.query('select pg_advisory_unlock(hashtext($1))', [name]);
  }
  return name;
}

/** Works with one connection, which is closed with the work. */
export async function withClient<T>(url: string, work: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 10_000, statement_timeout: 60_000 });
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}

function urlOf(adminUrl: string, database: string): string {
  const url = new URL(adminUrl);
  url.pathname = `/${database}`;
  return url.href;
}
