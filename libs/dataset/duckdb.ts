import type { DuckDBConnection, DuckDBValue } from '@duckdb/node-api';
import { DuckDBInstance } from '@duckdb/node-api';

/** A value of a result row: 64-bit counts are numbers (they are far below 2^53). */
export type Cell = string | number | boolean | null;

/** A DuckDB database for one operation: every statement ends immediately when the signal fires. */
export type Database = {
  /** Runs a statement and ignores its result. */
  run(sql: string): Promise<void>;
  /** All rows of a small result. */
  rows(sql: string): Promise<Record<string, Cell>[]>;
  /** Rows of a result of any size, in chunks of a few thousand. */
  stream(sql: string): AsyncGenerator<Record<string, Cell>[]>;
  /** Appends rows to a table; values are in the order of its columns. */
  append(table: string, rows: Iterable<readonly (string | number | null)[]>): Promise<void>;
  close(): void;
};

export type DatabaseOptions = {
  /** A folder for spilling; without it everything must fit into memory. */
  folder?: string;
  memoryLimitMiB?: number;
  threads?: number;
  signal?: AbortSignal;
};

const defaultMemoryLimitMiB = 1024;

/** Opens a database. The caller closes it and removes its folder. */
export async function openDatabase(options: DatabaseOptions = {}): Promise<Database> {
  const { folder, signal, memoryLimitMiB = defaultMemoryLimitMiB, threads } = options;
  signal?.throwIfAborted();
  // In memory even if there is a folder: compressing tables for the disk took more than half of the time.
  const instance = await DuckDBInstance.create(':memory:', {
    memory_limit: `${memoryLimitMiB}MiB`,
    // Rows keep their order: lists are defined by the order of their source files.
    preserve_insertion_order: 'true',
    // Extensions are never downloaded: Parquet and JSON are built in.
    autoinstall_known_extensions: 'false',
    ...(folder ? { temp_directory: `${folder}/spill` } : {}),
    ...(threads ? { threads: String(threads) } : {}),
  });
  const connection = await instance.connect();
  const interrupt = (): void => connection.interrupt();
  signal?.addEventListener('abort', interrupt);
  const guarded = async <T>(work: () => Promise<T>): Promise<T> => {
    signal?.throwIfAborted();
    try {
      return await work();
    } catch (error) {
      // An interrupted statement fails with DuckDB's own error; throw the abort reason instead.
      signal?.throwIfAborted();
      throw error;
    }
  };
  return {
    run: (sql) => guarded(async () => void (await connection.run(sql))),
    rows: (sql) => guarded(async () => (await connection.runAndReadAll(sql)).getRowObjects().map(plainRow)),
    stream: (sql) => streamed(connection, sql, guarded),
    append: (table, rows) => guarded(() => appended(connection, table, rows)),
    close: () => {
      signal?.removeEventListener('abort', interrupt);
      connection.closeSync();
      instance.closeSync();
    },
  };
}

async function* streamed(
  connection: DuckDBConnection,
  sql: string,
  guarded: <T>(work: () => Promise<T>) => Promise<T>,
): AsyncGenerator<Record<string, Cell>[]> {
  const result = await guarded(() => connection.stream(sql));
  const names = result.columnNames();
  for (;;) {
    const chunk = await guarded(() => result.fetchChunk());
    if (!chunk || chunk.rowCount === 0) return;
    yield chunk.getRowObjects(names).map(plainRow);
  }
}

/** Rows appended before yielding to the event loop. */
const appendBatch = 20_000;

async function appended(connection: DuckDBConnection, table: string, rows: Iterable<readonly (string | number | null)[]>): Promise<void> {
  const appender = await connection.createAppender(table);
  try {
    let count = 0;
    for (const row of rows) {
      for (const value of row) {
        if (value === null) appender.appendNull();
        else if (typeof value === 'string') appender.appendVarchar(value);
        else appender.appendBigInt(BigInt(value));
      }
      appender.endRow();
      if (++count % appendBatch === 0) {
        appender.flushSync();
        await new Promise((resolve) => setImmediate(resolve));
      }
    }
    appender.flushSync();
  } finally {
    appender.closeSync();
  }
}

function plainRow(row: Record<string, DuckDBValue>): Record<string, Cell> {
  return Object.fromEntries(Object.entries(row).map(([name, value]) => [name, plain(value)]));
}

function plain(value: DuckDBValue): Cell {
  if (typeof value === 'bigint') return Number(value);
  if (value === null || typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean') return value;
  return String(value);
}

/** A string as an SQL literal. */
export function literal(text: string): string {
  return `'${text.replaceAll("'", "''")}'`;
}

/** A path as an SQL literal for DuckDB's readers, with wildcards escaped: a folder named `a[1]*` means itself. */
export function pathLiteral(path: string): string {
  return literal(path.replaceAll(/[[*?]/g, (wildcard) => `[${wildcard}]`));
}

/** A whole number in a result row. */
export function count(value: Cell | undefined): number {
  if (typeof value !== 'number') throw new TypeError(`expected a number in a result, found ${String(value)}`);
  return value;
}

/** A string in a result row. */
export function text(value: Cell | undefined): string {
  if (typeof value !== 'string') throw new TypeError(`expected a string in a result, found ${String(value)}`);
  return value;
}
