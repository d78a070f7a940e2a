import { readFileSync } from 'node:fs';
import path from 'node:path';
import { migrate } from '@cairn/db';
import { expect, test } from 'vitest';
import { schemaDifference } from './check-schema.ts';
import { createDatabase } from './start-postgres.ts';

const schema = readFileSync(path.join(import.meta.dirname, '../../prisma/schema.prisma'), 'utf8');

async function compare(text?: string) {
  await using migrated = await createDatabase();
  await using empty = await createDatabase();
  await migrate(migrated.url);
  // Awaited here, because the databases are dropped when this function returns.
  return await schemaDifference(migrated.url, empty.url, text);
}

test('the migrations produce the schema, except for check constraints and partial indexes', async () => {
  expect(await compare()).toEqual({ onlyMigrated: [], onlySchema: [] });
});

test('columns, indexes and defaults that only one of the two has are named', async () => {
  const changed = schema
    .replace(/^ +cause +String\?\n/m, '')
    .replace('  @@index([runId])\n', '')
    .replace(/(priority +Int +)@default\(0\)/, '$1@default(1)\n  budget Int?');
  expect(await compare(changed)).toEqual({
    onlyMigrated: [
      'CREATE INDEX attempt_run_id_idx ON public.attempt USING btree (run_id)',
      'column run.cause: text',
      'column run.priority: integer not null default 0',
    ],
    onlySchema: ['column run.budget: integer', 'column run.priority: integer not null default 1'],
  });
});
