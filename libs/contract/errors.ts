import { attemptErrors, type ErrorRow } from './attempt-errors.ts';

export type { ErrorRow } from './attempt-errors.ts';

/**
 * The one table of error codes: what the edge answers (HTTP status), whether the same call may succeed later, and who can fix it.
 * docs/errors.md is generated from this table; a problem document (RFC 9457) carries the code in `code`.
 */
export const errorTable = {
  invalid_request: {
    status: 400,
    retry: false,
    fix: 'caller',
    title: 'Invalid request',
    remedy: 'Correct the fields in `details.errors`; /docs shows the schema.',
  },
  invalid_yaml: {
    status: 400,
    retry: false,
    fix: 'caller',
    title: 'Invalid YAML',
    remedy: 'Correct the line and column that the message names.',
  },
  unknown_recipe: {
    status: 404,
    retry: false,
    fix: 'caller',
    title: 'Recipe not found',
    remedy: 'Use the suggested name, or list the recipes with `cairn recipes` or GET /v1/recipes.',
  },
  unknown_setting: {
    status: 400,
    retry: false,
    fix: 'caller',
    title: 'Setting not found',
    remedy: 'Use the suggested name, or show the recipe with GET /v1/recipes/{name}.',
  },
  invalid_setting: {
    status: 400,
    retry: false,
    fix: 'caller',
    title: 'Invalid setting value',
    remedy: 'Give a value of the type and range that the message names.',
  },
  unauthenticated: {
    status: 401,
    retry: false,
    fix: 'caller',
    title: 'Missing or invalid token',
    remedy: 'Send `Authorization: Bearer <token>` with a valid token: known, not revoked, not expired.',
  },
  wrong_signature: {
    status: 401,
    retry: false,
    fix: 'caller',
    title: 'Missing or wrong signature',
    remedy: 'Give the sender the secret of the trigger, and let it sign as the message says; `cairn trigger rotate` makes a new secret.',
  },
  forbidden: {
    status: 403,
    retry: false,
    fix: 'operator',
    title: 'Insufficient role',
    remedy: 'Ask an admin for a token with the role that the message names.',
  },
  cross_site: {
    status: 403,
    retry: false,
    fix: 'caller',
    title: 'Change requested by another site',
    remedy: "Send changes from the dashboard's own address, or with `Authorization: Bearer <token>`.",
  },
  not_found: {
    status: 404,
    retry: false,
    fix: 'caller',
    title: 'Not found',
    remedy: 'Check the ID or the name, or list the existing ones.',
  },
  method_not_allowed: {
    status: 405,
    retry: false,
    fix: 'caller',
    title: 'Method not allowed',
    remedy: 'Use one of the methods in the message and in the `Allow` header.',
  },
  invalid_path: {
    status: 400,
    retry: false,
    fix: 'caller',
    title: 'Invalid name or ID in the path',
    remedy: 'Use letters, digits, dot, dash and underscore.',
  },
  idempotency_conflict: {
    status: 409,
    retry: false,
    fix: 'caller',
    title: 'Idempotency-Key already used for another request',
    remedy: 'Use a new key for a new request.',
  },
  wrong_state: {
    status: 409,
    retry: false,
    fix: 'caller',
    title: 'Not allowed in the current state',
    remedy: 'Check the state; the message names the states that allow the call.',
  },
  name_taken: {
    status: 409,
    retry: false,
    fix: 'caller',
    title: 'Name already in use',
    remedy: 'Choose another name or version.',
  },
  superseded: {
    status: 409,
    retry: false,
    fix: 'cairn',
    title: 'Attempt ended or replaced',
    remedy: 'The process that receives this error stops. Nothing it wrote is used.',
  },
  lease_lost: {
    status: 409,
    retry: false,
    fix: 'cairn',
    title: 'Shard leased to another attempt',
    remedy: 'Drop the shard and claim the next one.',
  },
  payload_too_large: {
    status: 413,
    retry: false,
    fix: 'caller',
    title: 'Request body too large',
    remedy: 'Send at most the number of bytes in the message. Images and lists are read from storage, never sent in a request.',
  },
  rate_limited: {
    status: 429,
    retry: true,
    fix: 'caller',
    title: 'Too many requests',
    remedy: 'Wait for the number of seconds in Retry-After.',
  },
  unreadable_image: {
    status: 422,
    retry: false,
    fix: 'data owner',
    title: 'Image cannot be read',
    remedy:
      'Replace the image by one that can be decoded, in one of the formats JPEG, PNG, WebP, GIF and TIFF; the message has the reason.',
  },
  missing_file: {
    status: 422,
    retry: false,
    fix: 'data owner',
    title: 'Missing dataset file',
    remedy: 'Put the file where the message says; the message also names the list that needs it.',
  },
  missing_column: {
    status: 422,
    retry: false,
    fix: 'data owner',
    title: 'Missing column in a CSV file',
    remedy: 'Add the column; the message names the expected columns.',
  },
  bad_row: {
    status: 422,
    retry: false,
    fix: 'data owner',
    title: 'Invalid row in a dataset file',
    remedy: 'Correct the file at the line and column in the message.',
  },
  empty_list: {
    status: 422,
    retry: false,
    fix: 'data owner',
    title: 'Empty list',
    remedy: 'Complete the files that the list is built from, or remove the list from `prepare.lists` if no step reads it.',
  },
  folder_not_allowed: {
    status: 422,
    retry: false,
    fix: 'data owner',
    title: 'Folder not allowed for datasets',
    remedy:
      'Move the files below an allowed folder, without links that point outside it, or ask the operator to add the folder to CAIRN_DATASET_ROOTS. With `cairn up`, its owner adds the folder with `cairn dataset add`.',
  },
  source_denied: {
    status: 422,
    retry: false,
    fix: 'data owner',
    title: 'Access to the dataset denied',
    remedy:
      "Renew or correct the credentials of the dataset's storage, or its address, then retry the run with `cairn retry`; the message has the server's answer.",
  },
  dataset_changed: {
    status: 422,
    retry: false,
    fix: 'data owner',
    title: 'Dataset file changed since registration',
    remedy: 'Restore the registered file, or register the dataset again with `cairn dataset add` and run on the new version.',
  },
  corrupt_tar: {
    status: 422,
    retry: false,
    fix: 'data owner',
    title: 'Corrupt tar file',
    remedy: 'Download the tar again: its md5 or its headers do not match.',
  },
  too_many_bad_images: {
    status: 422,
    retry: false,
    fix: 'data owner',
    title: 'Too many unreadable images',
    remedy: 'Fix or remove the images that the message or the log names, or raise `maxBadImageShare`.',
  },
  unsafe_file: {
    status: 422,
    retry: false,
    fix: 'caller',
    title: 'Unsafe file: loading it would run code',
    remedy: 'Download the file from its publisher again, or ask its author to save only the data. Do not load it with other tools.',
  },
  unreadable_file: {
    status: 422,
    retry: false,
    fix: 'caller',
    title: 'Unreadable import file',
    remedy: 'Download or write the file again: it is truncated, empty, or not in the format that the message names.',
  },
  content_mismatch: {
    status: 422,
    retry: false,
    fix: 'caller',
    title: 'Upload does not match its declared size or SHA-256',
    remedy: 'Send the file again. Nothing from this upload was kept.',
  },
  corrupt_artifact: {
    status: 500,
    retry: false,
    fix: 'operator',
    title: 'Stored file does not match its manifest',
    remedy: 'Check the storage, then rerun the step that produced the file with `--no-reuse`.',
  },
  storage_full: {
    status: 507,
    retry: true,
    fix: 'operator',
    title: 'Storage full',
    remedy:
      'Free or add space where the message says; `cairn gc` removes what is no longer used. A waiting step continues by itself. If the step has failed, retry the run with `cairn retry`.',
  },
  storage_failed: {
    status: 503,
    retry: true,
    fix: 'operator',
    title: 'Object storage failed',
    remedy: 'Check the storage and its credentials.',
  },
  port_in_use: {
    status: 500,
    retry: true,
    fix: 'operator',
    title: 'Port in use',
    remedy: 'Stop the program that uses the port, or choose another port.',
  },
  invalid_configuration: {
    status: 500,
    retry: false,
    fix: 'operator',
    title: 'Invalid configuration',
    remedy: 'Correct every setting that the message names.',
  },
  not_comparable: {
    status: 422,
    retry: false,
    fix: 'caller',
    title: 'Evaluations cannot be compared',
    remedy: 'Evaluate both on the same gallery with the same queries and ground truths; the message says what differs.',
  },
  quota_exceeded: {
    status: 503,
    retry: true,
    fix: 'operator',
    title: 'Quota exceeded',
    remedy: 'Wait until something that counts against the quota ends, or raise the quota; the message names it.',
  },
  unavailable: {
    status: 503,
    retry: true,
    fix: 'operator',
    title: 'Service unavailable',
    remedy: 'Check PostgreSQL, the queue and the storage; /readyz names the one that does not answer.',
  },
  internal: {
    status: 500,
    retry: false,
    fix: 'cairn',
    title: 'Internal error',
    remedy: 'Report it with the request ID and the log.',
  },
  ...attemptErrors,
} as const satisfies Record<string, ErrorRow>;

export type ErrorCode = keyof typeof errorTable;

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
