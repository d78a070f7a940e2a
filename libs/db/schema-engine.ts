import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';
import { PrismaPg } from '@prisma/adapter-pg';
import { bindMigrationAwareSqlAdapterFactory } from '@prisma/driver-adapter-utils';
import type { SchemaEngine } from '@prisma/schema-engine-wasm';
import pg from 'pg';

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
