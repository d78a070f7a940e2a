import { createDatabase } from '@cairn/testing';
import { expect, test } from 'vitest';
import { migrate, readMigrations } from './migrate.ts';

test('several databases are migrated by one process, at once and one after another', async () => {
  const names = (await readMigrations()).migrationDirectories.map((migration) => migration.path);
  const databases = [await createDatabase(), await createDatabase(), await createDatabase()];
  const [first, second, third] = databases.map((database) => database.url);
  try {
    expect(await Promise.all([migrate(first ?? ''), migrate(second ?? '')])).toEqual([names, names]);
    expect(await migrate(third ?? '')).toEqual(names);
    expect(await migrate(first ?? '')).toEqual([]);
  } finally {
    for (const database of databases) await database.drop();
  }
});

test('a database that several programs migrate at once is migrated once', async () => {
  await using database = await createDatabase();
  const applied = await Promise.all([migrate(database.url), migrate(database.url), migrate(database.url)]);
  expect(applied.flat()).toEqual((await readMigrations()).migrationDirectories.map((migration) => migration.path));
});
