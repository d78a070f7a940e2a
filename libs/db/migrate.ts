import { readdir, readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { CairnError, configurationExit } from '@cairn/contract';
import { PrismaPg } from '@prisma/adapter-pg';
import { bindMigrationAwareSqlAdapterFactory } from '@prisma/driver-adapter-utils';
import type { SchemaEngine } from '@prisma/schema-engine-wasm';
import pg from 'pg';

/** Programs that migrate at the same time take turns on this advisory lock. */
const migrationLock = 4_242_001;
const migrationsDir = path.join(import.meta.dirname, '../../prisma/migrations');
const noFilters = { externalTables: [], externalEnums: [] };

/** The migrations folder in the schema engine's format: every folder's migration.sql, ordered by name. */
export async function readMigrations() {
  const names = (await readdir(migrationsDir, { withFileTypes: true })).filter((entry) => entry.isDirectory()).map((entry) => entry.name);
  const migrationDirectories = await Promise.all(
    names.sort().map(async (name) => ({
      path: name,
      migrationFile: {
        path: 'migration.sql',
        content: { tag: 'ok' as const, value: await readFile(path.join(migrationsDir, name, 'migration.sql'), 'utf8') },
      },
    })),
  );
  return {
    baseDir: migrationsDir,
    lockfile: { path: 'migration_lock.toml', content: await readFile(path.join(migrationsDir, 'migration_lock.toml'), 'utf8') },
    shadowDbInitScript: '',
    migrationDirectories,
  };
}

/**
 * Applies every pending migration and returns their names. Safe to call from several programs at the same time.
 *
 * @throws CairnError `unavailable` when the database cannot be reached or a migration fails
 */
export async function migrate(url: string): Promise<string[]> {
  const lock = new pg.Client({ connectionString: url, connectionTimeoutMillis: 10_000 });
  try {
    await lock.connect();
    await lock.query('select pg_advisory_lock($1)', [migrationLock]);
    const { engine, close } = await openSchemaEngine(url);
    try {
      const { appliedMigrationNames } = await engine.applyMigrations({ migrationsList: await readMigrations(), filters: noFilters });
      return appliedMigrationNames;
    } finally {
      await close();
    }
  } catch (cause) {
    throw new CairnError('unavailable', `Cannot migrate the database: ${cause instanceof Error ? cause.message : String(cause)}`, {
      cause,
    });
  } finally {
    await lock.end();
  }
}

// Node provides it; the type libraries in use do not declare it.
declare const WebAssembly: { instantiate(bytes: Uint8Array, imports: object): Promise<{ instance: { exports: Record<string, unknown> } }> };

/**
 * Prisma's schema engine as WebAssembly: `diff` and `applyMigrations` without the native binary, which cannot be
 * downloaded everywhere. The package's own entry imports the .wasm file as a module; here it is instantiated by hand.
 *
 * @param url the database to work on
 * @param datamodels [file name, text] of the Prisma schema, or empty to apply migrations
 */
export async function openSchemaEngine(
  url: string,
  datamodels?: [string, string][],
): Promise<{ engine: SchemaEngine; close(): Promise<void> }> {
  const pool = new pg.Pool({ connectionString: url, max: 2, connectionTimeoutMillis: 10_000 });
  const glue = await loadGlue();
  const adapter = bindMigrationAwareSqlAdapterFactory(withWholeScripts(new PrismaPg(pool)));
  const engine: SchemaEngine = await glue.SchemaEngine.new({ datamodels }, () => undefined, adapter);
  return {
    engine,
    close: async () => {
      engine.free();
      await pool.end();
    },
  };
}

/** The adapter splits a script at every semicolon, also within the body of a function; PostgreSQL itself executes a script as it is. */
function withWholeScripts(factory: PrismaPg): PrismaPg {
  const connect = factory.connect.bind(factory);
  factory.connect = async () => {
    const adapter = await connect();
    const executeScript = async (sql: string) => void (await adapter.executeRaw({ sql, args: [], argTypes: [] }));
    return Object.assign(adapter, { executeScript });
  };
  return factory;
}

let loading: Promise<typeof import('@prisma/schema-engine-wasm')> | undefined;

/** Once per process: the glue keeps the memory of its first instance, and would read a second instance through it. */
function loadGlue() {
  loading ??= instantiate();
  return loading;
}

async function instantiate(): Promise<typeof import('@prisma/schema-engine-wasm')> {
  const require = createRequire(import.meta.url);
  const glueFile = require.resolve('@prisma/schema-engine-wasm/schema_engine_bg');
  const glue = await import(pathToFileURL(glueFile).href);
  const bytes = await readFile(glueFile.replace(/\.js$/, '.wasm'));
  const { instance } = await WebAssembly.instantiate(bytes, { './schema_engine_bg.js': glue });
  glue.__wbg_set_wasm(instance.exports);
  const start = instance.exports.__wbindgen_start;
  if (typeof start === 'function') start();
  return glue;
}

if (import.meta.main) {
  const url = process.env.CAIRN_DATABASE_URL;
  if (!url) {
    console.error(
      'error: CAIRN_DATABASE_URL is not set; set it to the address of the PostgreSQL database, such as postgres://user:password@host:5432/cairn',
    );
    process.exit(configurationExit);
  }
  const applied = await migrate(url).catch((error: unknown) => {
    console.error(`error: ${error instanceof Error ? error.message : String(error)}`);
    process.exit(1);
  });
  console.log(applied.length > 0 ? `applied ${applied.join(', ')}` : 'the database is up to date');
  // The engine leaves a 10 s timer running (its wait for Prisma's advisory lock).
  process.exit(0);
}
