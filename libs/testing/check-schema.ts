import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { migrate, openSchemaEngine } from '@cairn/db';
import type pg from 'pg';
import { createDatabase, startPostgres, withClient } from './start-postgres.ts';

const schemaFile = path.join(import.meta.dirname, '../../prisma/schema.prisma');

/**
 * Columns, keys and indexes, one per line. Check constraints and partial indexes are left out: Prisma's schema cannot express them.
 * PostgreSQL's own description of each is compared, because the WebAssembly engine cannot introspect a PostgreSQL 18.
 */
const contents = `
  select format('column %I.%I: %s%s%s', c.relname, a.attname, format_type(a.atttypid, a.atttypmod),
    case when a.attnotnull then ' not null' else '' end, ' default ' || pg_get_expr(d.adbin, d.adrelid)) as line
  from pg_attribute a join pg_class c on c.oid = a.attrelid left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
  where c.relnamespace = 'public'::regnamespace and c.relkind = 'r' and a.attnum > 0 and not a.attisdropped and c.relname <> $1
  union all
  select format('key %I.%I: %s', c.relname, k.conname, pg_get_constraintdef(k.oid))
  from pg_constraint k join pg_class c on c.oid = k.conrelid
  where c.relnamespace = 'public'::regnamespace and k.contype in ('p', 'u', 'f') and c.relname <> $1
  union all
  select pg_get_indexdef(indexrelid)
  from pg_index join pg_class c on c.oid = indrelid
  where c.relnamespace = 'public'::regnamespace and indpred is null and not indisprimary and c.relname <> $1
  order by line`;
/** Where the schema engine records which migrations were applied. */
const ledger = '_prisma_migrations';

type SchemaDifference = {
  /** In a migrated database, but not in prisma/schema.prisma. */
  onlyMigrated: string[];
  /** In prisma/schema.prisma, but created by no migration. */
  onlySchema: string[];
};

/**
 * Compares a migrated database with prisma/schema.prisma, which is created in the empty database of `emptyUrl`.
 *
 * @param schema the text to compare with instead of the file's
 */
export async function schemaDifference(migratedUrl: string, emptyUrl: string, schema?: string): Promise<SchemaDifference> {
  const content = schema ?? (await readFile(schemaFile, 'utf8'));
  await withClient(emptyUrl, async (client) => void (await client.query(await scriptOf(emptyUrl, content))));
  const [migrated, declared] = await Promise.all([migratedUrl, emptyUrl].map((url) => withClient(url, contentsOf)));
  const without = (lines: string[] = [], others: string[] = []) => lines.filter((line) => !others.includes(line));
  return { onlyMigrated: without(migrated, declared), onlySchema: without(declared, migrated) };
}

/** The SQL that creates the schema. */
async function scriptOf(url: string, content: string): Promise<string> {
  const file = 'schema.prisma';
  const { engine, close } = await openSchemaEngine(url, [[file, content]]);
  try {
    const { stdout } = await engine.diff({
      from: { tag: 'empty' },
      to: { tag: 'schemaDatamodel', files: [{ path: file, content }] },
      script: true,
      exitCode: null,
      filters: { externalTables: [], externalEnums: [] },
    });
    return stdout ?? '';
  } finally {
    await close();
  }
}

async function contentsOf(client: pg.Client): Promise<string[]> {
  const { rows } = await client.query<{ line: string }>(contents, [ledger]);
  return rows.map((row) => row.line);
}

// A check of `npm run check`: prisma/schema.prisma and the migrations produce the same database, in a separate PostgreSQL.
if (import.meta.main) {
  const server = await startPostgres();
  try {
    await migrate(server.url);
    const empty = await createDatabase({ postgresUrl: server.url });
    const { onlyMigrated, onlySchema } = await schemaDifference(server.url, empty.url);
    for (const line of onlyMigrated) console.log(`created by a migration, but missing in prisma/schema.prisma: ${line}`);
    for (const line of onlySchema) console.log(`in prisma/schema.prisma, but not created by any migration: ${line}`);
    process.exitCode = onlyMigrated.length + onlySchema.length === 0 ? 0 : 1;
  } finally {
    await server.stop();
  }
  // The schema engine leaves a 10 s timer behind.
  process.exit();
}
