import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';
import { PrismaPg } from '@prisma/adapter-pg';
import { bindMigrationAwareSqlAdapterFactory } from '@prisma/driver-adapter-utils';
import type { SchemaEngine } from '@prisma/schema-engine-wasm';
import pg from 'pg';

// Node has it; the type libraries in use do not name it.
declare const WebAssembly: { instantiate(bytes: Uint8Array, imports: object): Promise<{ instance: { exports: Record<string, unknown> } }> };

type Glue = { SchemaEngine: { new: (options: object, log: () => void, adapter: object) => Promise<SchemaEngine> } };

/**
 * Once a process: the package's glue code holds one instance in a variable of its own, and what an engine leaves behind (a
 * timer of 10 s) wakes in whichever instance is there then. With a second one the engines in it never answer.
 */
let loaded: Promise<Glue> | undefined;

/** The package's own entry imports the .wasm file as a module; Node instantiates it by hand here. */
async function loadGlue(): Promise<Glue> {
  const require = createRequire(import.meta.url);
  const glue = await import(pathToFileURL(require.resolve('@prisma/schema-engine-wasm/schema_engine_bg')).href);
  const wasmFile = require.resolve('@prisma/schema-engine-wasm/schema_engine_bg').replace(/\.js$/, '.wasm');
  const { instance } = await WebAssembly.instantiate(await readFile(wasmFile), { './schema_engine_bg.js': glue });
  glue.__wbg_set_wasm(instance.exports);
  const start = instance.exports.__wbindgen_start;
  if (typeof start === 'function') start();
  return glue;
}

/**
 * Prisma's schema engine as WebAssembly: `diff` and `applyMigrations` without the native binary, which cannot be
 * downloaded everywhere.
 *
 * @param url the database to work on
 * @param datamodels [file name, text] of the Prisma schema, or nothing for applying migrations
 */
export async function openSchemaEngine(
  url: string,
  datamodels?: [string, string][],
): Promise<{ engine: SchemaEngine; close(): Promise<void> }> {
  const pool = new pg.Pool({ connectionString: url, max: 2, connectionTimeoutMillis: 10_000 });
  loaded ??= loadGlue();
  const glue = await loaded;
  const adapter = bindMigrationAwareSqlAdapterFactory(new PrismaPg(pool));
  const engine = await glue.SchemaEngine.new({ datamodels }, () => undefined, adapter);
  return {
    engine,
    close: async () => {
      engine.free();
      await pool.end();
    },
  };
}
