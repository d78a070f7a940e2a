import { stat } from 'node:fs/promises';
import { resolve } from 'node:path';
import { CairnError } from '@cairn/contract';
import { DOUBLE, DuckDBDataChunk, DuckDBInstance, type DuckDBType, type DuckDBValue, INTEGER, VARCHAR } from '@duckdb/node-api';
import { writingTo } from '../files/whole-file.ts';

/** The result of a query, column by column. Reading a column checks every cell; an unexpected value is `corrupt_artifact`. */
export class Table {
  readonly path: string;
  readonly #columns: ReadonlyMap<string, readonly unknown[]>;

  constructor(path: string, columns: ReadonlyMap<string, readonly unknown[]>) {
    this.path = path;
    this.#columns = columns;
  }

  text(column: string): string[] {
    return this.#cells(column, 'text', (cell) => (typeof cell === 'string' ? cell : undefined));
  }

  textOrNull(column: string): (string | null)[] {
    return this.#cells(column, 'text or null', (cell) => (cell === null || typeof cell === 'string' ? cell : undefined));
  }

  /** Integers up to 2^53 - 1. */
  integer(column: string): number[] {
    return this.#cells(column, 'an integer', asInteger);
  }

  integerOrNull(column: string): (number | null)[] {
    return this.#cells(column, 'an integer or null', (cell) => (cell === null ? null : asInteger(cell)));
  }

  number(column: string): number[] {
    return this.#cells(column, 'a number', (cell) => (typeof cell === 'number' ? cell : undefined));
  }

  numberOrNull(column: string): (number | null)[] {
    return this.#cells(column, 'a number or null', (cell) => (cell === null || typeof cell === 'number' ? cell : undefined));
  }

  #cells<T>(column: string, expected: string, parse: (cell: unknown) => T | undefined): T[] {
    const cells = this.#columns.get(column);
    if (cells === undefined) throw new CairnError('internal', `The query on ${this.path} selects no column ${column}`);
    return cells.map((cell, row) => {
      const value = parse(cell);
      if (value !== undefined) return value;
      throw new CairnError('corrupt_artifact', `${this.path}: column ${column} of row ${row + 1} is ${String(cell)}, not ${expected}`);
    });
  }
}

function asInteger(cell: unknown): number | undefined {
  return typeof cell === 'number' && Number.isSafeInteger(cell) ? cell : undefined;
}

/** Types of written columns: VARCHAR, INTEGER (32 bits) and DOUBLE. */
export type ColumnType = 'text' | 'integer' | 'double';
export type Cell = string | number | null;

export type ParquetFile = {
  path: string;
  columns: Readonly<Record<string, ColumnType>>;
  /** Cells in the order of `columns`. */
  rows: Iterable<readonly Cell[]>;
  /** Key-value metadata of the file. */
  metadata?: Readonly<Record<string, string>>;
};

export type ParquetQuery = {
  /** The file for `$path`, as in `select image_id from read_parquet($path)`, and for errors. */
  path: string;
  sql: string;
  parameters?: Readonly<Record<string, string | number>>;
};

export type Parquet = {
  /** Throws `corrupt_artifact` if the file is missing, not Parquet, or lacks a column of the query. */
  query(query: ParquetQuery, signal?: AbortSignal): Promise<Table>;
  /**
   * The rows in pieces of a few thousand, in the order in which DuckDB reads them: that of the file, unless the query sorts. `onRows` must not
   * keep the tables. Throws as `query`.
   */
  scan(query: ParquetQuery, onRows: (rows: Table) => void, signal?: AbortSignal): Promise<void>;
  /** The file's key-value metadata. */
  metadata(path: string, signal?: AbortSignal): Promise<ReadonlyMap<string, string>>;
  /** Writes the rows in order, replacing an existing file. Throws `storage_full` if the disk is full. */
  write(file: ParquetFile, signal?: AbortSignal): Promise<void>;
  /** Closes the connection after pending work. Further calls do nothing. */
  close(): Promise<void>;
};

export type ParquetOptions = {
  /** Maximum time for one query or file. */
  timeoutMs?: number;
};

const duckdbType: Record<ColumnType, DuckDBType> = { text: VARCHAR, integer: INTEGER, double: DOUBLE };
/** DuckDB's own vector size. */
const CHUNK_ROWS = 2048;

/** Reads and writes Parquet through one in-memory DuckDB with one connection; calls wait for each other. */
export async function openParquet({ timeoutMs = 600_000 }: ParquetOptions = {}): Promise<Parquet> {
  const instance = await DuckDBInstance.create(':memory:', {
    // With one thread `list` keeps the order of the query; and the other cores decode images.
    threads: '1',
    preserve_insertion_order: 'true',
    // Extensions are not needed and must never be downloaded.
    autoinstall_known_extensions: 'false',
    autoload_known_extensions: 'false',
  });
  const connection = await instance.connect();
  let last: Promise<unknown> = Promise.resolve();
  let isClosed = false;

  /** Runs `work` after all earlier calls, and interrupts it on the signal or the time limit. */
  function inTurn<T>(path: string, signal: AbortSignal | undefined, work: () => Promise<T>): Promise<T> {
    if (isClosed) throw new CairnError('internal', `The Parquet connection is closed; ${path} can no longer be read or written`);
    const turn = last.then(async () => {
      signal?.throwIfAborted();
      let isLate = false;
      const interrupt = () => connection.interrupt();
      const timer = setTimeout(() => {
        isLate = true;
        interrupt();
      }, timeoutMs);
      signal?.addEventListener('abort', interrupt, { once: true });
      try {
        return await work();
      } catch (cause) {
        signal?.throwIfAborted();
        if (isLate) throw new CairnError('storage_failed', `${path} was not read or written within ${timeoutMs / 1000} s`, { cause });
        throw cause;
      } finally {
        clearTimeout(timer);
        signal?.removeEventListener('abort', interrupt);
      }
    });
    last = turn.catch(() => undefined);
    return turn;
  }

  async function reading<T>(path: string, work: (parameters: Record<string, DuckDBValue>) => Promise<T>): Promise<T> {
    try {
      // DuckDB would wait for the writer of a pipe, and could not be interrupted.
      const found = await stat(path).catch(() => null);
      if (found !== null && !found.isFile()) throw new Error('it is not a file');
      return await work({ path: withoutWildcards(resolve(path)) });
    } catch (cause) {
      if (cause instanceof CairnError) throw cause;
      const [line] = messageOf(cause).split('\n');
      throw new CairnError('corrupt_artifact', `${path} cannot be read as the expected Parquet file: ${line}`, { cause });
    }
  }

  function read(path: string, sql: string, parameters: Record<string, DuckDBValue>): Promise<Table> {
    return reading(path, async (place) => {
      // One JSON text per column: reading millions of strings from the result one by one takes ten times as long.
      const reader = await connection.runAndReadAll(`select to_json(list(columns(*))) from (${sql})`, { ...parameters, ...place });
      const cells = reader.getRowsJS()[0] ?? [];
      return new Table(path, new Map(reader.columnNames().map((name, column) => [name, parseColumn(cells[column])])));
    });
  }

  function scan(path: string, sql: string, parameters: Record<string, DuckDBValue>, onRows: (rows: Table) => void): Promise<void> {
    return reading(path, async (place) => {
      const result = await connection.stream(sql, { ...parameters, ...place });
      const names = result.columnNames();
      for (let chunk = await result.fetchChunk(); chunk !== null && chunk.rowCount > 0; chunk = await result.fetchChunk()) {
        const columns = names.map((_, column) => chunk.getColumnValues(column).map(plainCell));
        onRows(new Table(path, new Map(names.map((name, column) => [name, columns[column] ?? []]))));
      }
    });
  }

  async function write({ path, columns, rows, metadata = {} }: ParquetFile): Promise<void> {
    const types = Object.values(columns).map((type) => duckdbType[type]);
    const definitions = Object.entries(columns).map(([name, type]) => `${identifier(name)} ${duckdbType[type]}`);
    await connection.run(`create or replace temp table file_being_written (${definitions.join(', ')})`);
    try {
      const appender = await connection.createAppender('file_being_written');
      for (const chunk of chunksOf(rows)) {
        const data = DuckDBDataChunk.create(types);
        data.setRows(chunk);
        appender.appendDataChunk(data);
      }
      appender.closeSync();
      const entries = Object.entries(metadata).map(([key, value]) => `${identifier(key)}: ${literal(value)}`);
      const extra = entries.length > 0 ? `, kv_metadata {${entries.join(', ')}}` : '';
      await connection.run(`copy file_being_written to ${literal(resolve(path))} (format parquet, compression zstd${extra})`);
    } finally {
      await connection.run('drop table if exists file_being_written');
    }
  }

  return {
    query({ path, sql, parameters = {} }, signal) {
      return inTurn(path, signal, () => read(path, sql, { ...parameters }));
    },
    scan({ path, sql, parameters = {} }, onRows, signal) {
      return inTurn(path, signal, () => scan(path, sql, { ...parameters }, onRows));
    },
    async metadata(path, signal) {
      const sql = 'select decode(key) as key, decode(value) as value from parquet_kv_metadata($path)';
      const table = await inTurn(path, signal, () => read(path, sql, {}));
      const values = table.text('value');
      return new Map(table.text('key').map((key, row) => [key, values[row] ?? '']));
    },
    write(file, signal) {
      return inTurn(file.path, signal, () => writingTo(file.path, () => write(file)));
    },
    async close() {
      if (isClosed) return;
      isClosed = true;
      await last;
      connection.closeSync();
      instance.closeSync();
    },
  };
}

/** The names of a file's columns. Throws as `query`. */
export async function columnNames(parquet: Parquet, path: string, signal?: AbortSignal): Promise<Set<string>> {
  const table = await parquet.query({ path, sql: 'select name from parquet_schema($path)' }, signal);
  return new Set(table.textOrNull('name').flatMap((name) => (name === null ? [] : [name])));
}

function* chunksOf(rows: Iterable<readonly Cell[]>): Generator<(readonly Cell[])[]> {
  let chunk: (readonly Cell[])[] = [];
  for (const row of rows) {
    chunk.push(row);
    if (chunk.length < CHUNK_ROWS) continue;
    yield chunk;
    chunk = [];
  }
  if (chunk.length > 0) yield chunk;
}

/** BIGINT as a number: {@link Table} checks that it is exact. */
function plainCell(value: DuckDBValue): unknown {
  return typeof value === 'bigint' ? Number(value) : value;
}

/** `list` of no rows is null. */
function parseColumn(json: unknown): readonly unknown[] {
  const cells: unknown = typeof json === 'string' ? JSON.parse(json) : [];
  return Array.isArray(cells) ? cells : [];
}

function literal(text: string): string {
  return `'${text.replaceAll("'", "''")}'`;
}

function identifier(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}

/** DuckDB treats `*`, `?` and `[` in a path as wildcards; in brackets they are literal. */
function withoutWildcards(path: string): string {
  return path.replace(/[[*?]/g, '[$&]');
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
