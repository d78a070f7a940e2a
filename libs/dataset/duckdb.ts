import type { DuckDBConnection, DuckDBValue } from '@duckdb/node-api';
import { DuckDBInstance } from '@duckdb/node-api';

/** A value of a result row as this package uses it: 64-bit counts come as numbers (they stay far below 2^53). */
export type Cell = string | number | boolean | null;

/** A DuckDB database of one piece of work: every statement ends at once when the signal fires. */
export type Database = {
  /** Runs a statement that answers nothing of interest. */
  run(sql: string): Promise<void>;
  /** All rows of a small answer. */
  rows(sql: string): Promise<Record<string, Cell>[]>;
  /** Rows of an answer of any size, in pieces of a few thousand. */
  stream(sql: string): AsyncGenerator<Record<string, Cell>[]>;
  /** Appends rows to a table; the values come in the order of its columns. */
  append(table: string, rows: Iterable<readonly (string | number | null)[]>): Promise<void>;
  close(): void;
};

export type DatabaseOptions = {
  /** A folder for what does not fit into memory; without it everything must fit. */
  folder?: string;
  memoryLimitMiB?: number;
  threads?: number;
  signal?: AbortSignal;
};

const defaultMemoryLimitMiB = 1024;

/** Opens a database. Close it; its folder is the caller's to remove. */
export async function openDatabase(options: DatabaseOptions = {}): Promise<Database> {
  const { folder, signal, memoryLimitMiB = defaultMemoryLimitMiB, threads } = options;
  signal?.throwIfAborted();
  // Not a file even where there is a folder: packing tables for the disk took more than half of the time.
  const instance = await DuckDBInstance.create(':memory:', {
    memory_limit: `${memoryLimitMiB}MiB`,
    // Rows keep their order: lists are defined by the order of the files they come from.
    preserve_insertion_order: 'true',
    // Nothing is ever fetched: what is needed (Parquet, JSON) is built in.
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
      // An interrupted statement fails with DuckDB's own error; the caller asked for the abort and gets its reason.
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

/** Rows appended between two looks at the event loop. */
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

/** A text as an SQL literal. */
export function literal(text: string): string {
  return `'${text.replaceAll("'", "''")}'`;
}

/** A path as an SQL literal for DuckDB's readers, which take wildcards: a folder named `a[1]*` means itself. */
export function pathLiteral(path: string): string {
  return literal(path.replaceAll(/[[*?]/g, (wildcard) => `[${wildcard}]`));
}

/** A whole number out of a result row. */
export function count(value: Cell | undefined): number {
  if (typeof value !== 'number') throw new TypeError(`expected a number in a result, found ${String(value)}`);
  return value;
}

/** A text out of a result row. */
export function text(value: Cell | undefined): string {
  if (typeof value !== 'string') throw new TypeError(`expected a text in a result, found ${String(value)}`);
  return value;
}
