import { artifactState, attemptState, runState, runVerdict, shardState, stepState, stopCause, tokenRole } from '@cairn/contract';
import { createDatabase, withClient } from '@cairn/testing';
import { afterAll, expect, test } from 'vitest';
import { inTransaction, isUniqueViolation, openDatabase, type Transaction } from './client.ts';
import { migrate, readMigrations } from './migrate.ts';

const database = await createDatabase({ template: { key: 'cairn', migrate: (url) => migrate(url).then(() => undefined) } });
const { prisma, close } = openDatabase({ url: database.url });
afterAll(async () => {
  await close();
  await database.drop();
});

const caught = (work: Promise<unknown>): Promise<unknown> =>
  work.then(
    () => null,
    (error: unknown) => error,
  );

test('a unique violation is recognized by its code, in typed and in raw statements', async () => {
  const typed = await caught(prisma.project.create({ data: { id: 'default' } }));
  const raw = await caught(prisma.$executeRaw`insert into project (id) values ('default')`);
  expect([typed, raw].map(isUniqueViolation)).toEqual([true, true]);
  // Another error, with the code in its message.
  const words = await caught(prisma.$executeRaw`select 1 / 0 as "23505"`);
  expect([words, new Error('23505')].map(isUniqueViolation)).toEqual([false, false]);
});

test('a transaction is retried after a deadlock, but not after another failure', async () => {
  let runs = 0;
  const failOnceWith = (code: string) => async (tx: Transaction) => {
    runs += 1;
    if (runs === 1) await tx.$executeRawUnsafe(`do $$ begin raise 'an error' using errcode = '${code}'; end $$`);
    return 'done';
  };
  expect(await inTransaction(prisma, failOnceWith('40P01'))).toBe('done');
  runs = 0;
  await expect(inTransaction(prisma, failOnceWith('22012'))).rejects.toThrow('an error');
  expect(runs).toBe(1);
});

test('one process migrates several databases, in parallel and in sequence', async () => {
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

test('a database that several programs migrate at the same time is migrated once', async () => {
  await using database = await createDatabase();
  const applied = await Promise.all([migrate(database.url), migrate(database.url), migrate(database.url)]);
  expect(applied.flat()).toEqual((await readMigrations()).migrationDirectories.map((migration) => migration.path));
});

test('the database accepts exactly the states, roles and causes of the contract', async () => {
  await using database = await createDatabase({ template: { key: 'cairn', migrate: (url) => migrate(url).then(() => undefined) } });
  const known = {
    run_state: runState,
    run_verdict: runVerdict,
    step_state: stepState,
    attempt_state: attemptState,
    attempt_stop_cause: stopCause,
    shard_state: shardState,
    artifact_state: artifactState,
    token_role: tokenRole,
  };
  const rows = await withClient(database.url, (client) =>
    client.query<{ name: string; text: string }>('select conname as name, pg_get_constraintdef(oid) as text from pg_constraint'),
  );
  for (const [name, { options }] of Object.entries(known)) {
    const text = rows.rows.find((row) => row.name === `${name}_check`)?.text ?? '';
    expect(
      [...text.matchAll(/'([a-z_]+)'/g)].map(([, value]) => value),
      name,
    ).toEqual(options);
  }
});
