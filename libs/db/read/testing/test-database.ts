import { createHash } from 'node:crypto';
import { createDatabase } from '@cairn/testing';
import { afterAll } from 'vitest';
import { openDatabase } from '../../client.ts';
import { migrate, readMigrations } from '../../migrate.ts';

/** A migrated database of the test file's own, which goes with it. */
export async function openTestDatabase() {
  const migrations = JSON.stringify((await readMigrations()).migrationDirectories);
  const key = `cairn_${createHash('sha256').update(migrations).digest('hex').slice(0, 16)}`;
  const database = await createDatabase({ template: { key, migrate: async (url) => void (await migrate(url)) } });
  const { prisma, close } = openDatabase({ url: database.url, connections: 4 });
  afterAll(async () => {
    await close();
    await database.drop();
  });
  return { prisma, url: database.url };
}
