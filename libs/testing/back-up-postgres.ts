import { execFile } from 'node:child_process';
import { chown, mkdir, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { withClient } from './create-database.ts';
import { makeRunFolder } from './run-folder.ts';
import type { TestPostgres } from './start-postgres.ts';

const run = promisify(execFile);

/**
 * A backup of a server that goes on working: a folder, for `startPostgres` as `dataDir`. It is the base backup that PostgreSQL documents
 * under "Making a Base Backup Using the Low Level API". Whoever asks for it removes it.
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
    // What was written meanwhile; nobody archives it.
    await copy(join(from, 'pg_wal'), to);
    await writeFile(join(to, 'backup_label'), rows[0]?.labelfile ?? '');
    await chown(join(to, 'backup_label'), uid, gid);
    await rm(join(to, 'pg_wal', 'archive_status'), { recursive: true, force: true });
  });
  return folder;
}
