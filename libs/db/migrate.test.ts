import { artifactState, attemptState, runState, runVerdict, shardState, stepState, stopCause, tokenRole } from '@cairn/contract';
import { createDatabase, withClient } from '@cairn/testing';
import { expect, test } from 'vitest';
import { migrate, readMigrations } from './migrate.ts';

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
