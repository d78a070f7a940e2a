import { CairnError } from '@cairn/contract';

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
