import { randomBytes } from 'node:crypto';
import pg from 'pg';
import { provided } from './provided.ts';

export type DatabaseTemplate = {
  /** Identifies the content: the same key means the same migrations (a digest of them, where a server outlives a run). */
  key: string;
  /** Fills the template, once for all test files; must not leave a connection behind. */
  migrate: (url: string) => Promise<void>;
};

export type TestDatabase = {
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
