import { type AttemptCause, CairnError, type ErrorCode, errorTable, type FinishRequest } from '@cairn/contract';

export type Failure = Extract<FinishRequest, { outcome: 'failed' }>;

const fullDisk = new Set(['ENOSPC', 'EDQUOT']);

/** The failure of an attempt that was ended by an exception. */
export function failureOf(error: unknown): Failure {
  if (error instanceof CairnError) return failure(causeOf(error.code), error.code, error.message);
  const message = error instanceof Error ? error.message : String(error);
  if (error instanceof Error && 'code' in error && typeof error.code === 'string' && fullDisk.has(error.code)) {
    return failure('infrastructure', 'storage_full', `No space is left: ${message}`);
  }
  const where = error instanceof Error ? (error.stack?.split('\n')[1]?.trim() ?? '') : '';
  return failure('infrastructure', 'internal', where === '' ? message : `${message} (${where})`);
}

/** The failure of an attempt whose program reported why it failed, with a code of the error table or an unknown one. */
export function failureOfProgram(code: string, message: string): Failure {
  // The program's configuration comes from the step's settings: they are wrong, not the machine.
  const cause = code === 'invalid_configuration' ? 'user' : isErrorCode(code) ? causeOf(code) : 'infrastructure';
  return failure(cause, code, message);
}

export function failure(cause: AttemptCause, code: string, message: string): Failure {
  return { outcome: 'failed', cause, code, message };
}

/** The cause whose retry budget a failure uses: that of the people who can fix it. */
function causeOf(code: ErrorCode): AttemptCause {
  // The worker image is too old or too new, and will be the next time: as with an image that cannot be pulled.
  if (code === 'protocol_mismatch') return 'user';
  switch (errorTable[code].fix) {
    case 'data owner':
      return 'data';
    case 'caller':
      return 'user';
    default:
      return 'infrastructure';
  }
}

function isErrorCode(code: string): code is ErrorCode {
  return Object.hasOwn(errorTable, code);
}
