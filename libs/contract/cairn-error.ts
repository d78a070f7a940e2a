import { type ErrorCode, type ErrorRow, errorTable } from './errors.ts';

export type CairnErrorOptions = {
  /** Machine-readable details: field errors, the nearest name, the file and line. */
  details?: Record<string, unknown>;
  cause?: unknown;
};

/** An error with a code of {@link errorTable}. The message says what happened, to which thing, and what to do. */
export class CairnError extends Error {
  readonly code: ErrorCode;
  readonly details: Record<string, unknown>;

  constructor(code: ErrorCode, message: string, options: CairnErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'CairnError';
    this.code = code;
    this.details = options.details ?? {};
  }

  get row(): ErrorRow {
    return errorTable[this.code];
  }
}

/** True when `error` is a {@link CairnError}, of one of `codes` if any are given. */
export function isCairnError(error: unknown, ...codes: ErrorCode[]): error is CairnError {
  return error instanceof CairnError && (codes.length === 0 || codes.includes(error.code));
}
