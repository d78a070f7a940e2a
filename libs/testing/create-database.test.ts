import pg from 'pg';
import { expect, test } from 'vitest';
import { createDatabase } from './create-database.ts';
import { waitFor } from './wait-for.ts';

async function query(url: string, sql: string) {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    return (await client.query<Record<string, unknown>>(sql)).rows;
  } finally {
    await client.end();
  }
}

test('databases of one template have its content, which was created once, and are isolated from each other', async () => {
  let migrations = 0;
  const template = {
    key: `once_${process.pid}`,
    migrate: async (url: string) => {
      migrations += 1;
      await query(url, "create table run(id text); insert into run values ('run_1')");
    },
  };
  const [first, second] = await Promise.all([createDatabase({ template }), createDatabase({ template })]);
  await query(first.url, 'delete from run');
  expect(await query(second.url, 'select id from run')).toEqual([{ id: 'run_1' }]);
  expect(migrations).toBe(1);
  await Promise.all([first.drop(), second.drop()]);
});

test('a migration that fails leaves no template behind', async () => {
  const key = `broken_${process.pid}`;
  await expect(createDatabase({ template: { key, migrate: () => Promise.reject(new Error('bad migration')) } })).rejects.toThrow(
    'bad migration',
  );
  await using database = await createDatabase({
    template: { key, migrate: (url) => query(url, 'create table run(id text)').then(() => {}) },
  });
  expect(await query(database.url, 'select id from run')).toEqual([]);
});

test('dropping a database closes its connections', async () => {
  const database = await createDatabase();
  const client = new pg.Client({ connectionString: database.url });
  const errors: Error[] = [];
  client.on('error', (error) => errors.push(error));
  await client.connect();
  await database.drop();
  await waitFor(() => errors.length > 0, { message: 'the connection to be cut' });
  await expect(query(database.url, 'select 1')).rejects.toMatchObject({ code: '3D000' });
});
