/**
 * The one table of error codes: what the edge answers (HTTP status), whether the same call may succeed later, and who can
 * mend it. docs/errors.md is generated from this table; a problem document (RFC 9457) carries the code in `code`.
 */
export type ErrorRow = {
  /** HTTP status of the problem document. */
  status: number;
  /** True when repeating the same call unchanged may succeed. */
  retry: boolean;
  /** Who can mend it. */
  fix: 'caller' | 'operator' | 'data owner' | 'cairn';
  title: string;
  /** What the reader should do. */
  remedy: string;
};

export const errorTable = {
  invalid_request: {
    status: 400,
    retry: false,
    fix: 'caller',
    title: 'The request does not fit its schema',
    remedy: 'Correct the fields that `errors` lists; the OpenAPI page at /docs shows the schema.',
  },
  invalid_yaml: {
    status: 400,
    retry: false,
    fix: 'caller',
    title: 'The file is not valid YAML',
    remedy: 'Correct the line and column that the message names.',
  },
  unknown_recipe: {
    status: 404,
    retry: false,
    fix: 'caller',
    title: 'No recipe has this name',
    remedy: 'Use the suggested name, or list the recipes with `cairn recipes` or GET /v1/recipes.',
  },
  unknown_setting: {
    status: 400,
    retry: false,
    fix: 'caller',
    title: 'A recipe has no such setting',
    remedy: 'Use the suggested name, or show the recipe with GET /v1/recipes/{name}.',
  },
  invalid_setting: {
    status: 400,
    retry: false,
    fix: 'caller',
    title: 'A setting has a value that is not allowed',
    remedy: 'Give a value of the type and range that the message names.',
  },
  unauthenticated: {
    status: 401,
    retry: false,
    fix: 'caller',
    title: 'No valid token',
    remedy: 'Send `Authorization: Bearer <token>` with a token that exists, is not revoked and has not expired.',
  },
  forbidden: {
    status: 403,
    retry: false,
    fix: 'operator',
    title: 'The token has too weak a role',
    remedy: 'Ask an admin for a token with the role that the message names.',
  },
  not_found: {
    status: 404,
    retry: false,
    fix: 'caller',
    title: 'There is no such thing',
    remedy: 'Check the id; list what exists with the collection the id belongs to.',
  },
  method_not_allowed: {
    status: 405,
    retry: false,
    fix: 'caller',
    title: 'The path does not take this method',
    remedy: 'Use one of the methods that the message and the header `Allow` name.',
  },
  invalid_path: {
    status: 400,
    retry: false,
    fix: 'caller',
    title: 'A name or id would leave its folder',
    remedy: 'Use names of letters, digits, dot, dash and underscore.',
  },
  idempotency_conflict: {
    status: 409,
    retry: false,
    fix: 'caller',
    title: 'This Idempotency-Key was used for another request',
    remedy: 'Use a new key for a new request.',
  },
  wrong_state: {
    status: 409,
    retry: false,
    fix: 'caller',
    title: 'The thing is in a state that does not allow this',
    remedy: 'Look at its state; the message names the states that allow the call.',
  },
  name_taken: {
    status: 409,
    retry: false,
    fix: 'caller',
    title: 'The name is taken',
    remedy: 'Choose another name or version.',
  },
  superseded: {
    status: 409,
    retry: false,
    fix: 'cairn',
    title: 'The attempt is over or was replaced',
    remedy: 'The process that got this answer stops; nothing it wrote is used.',
  },
  lease_lost: {
    status: 409,
    retry: false,
    fix: 'cairn',
    title: 'The shard is leased to another attempt',
    remedy: 'Drop the shard and claim the next one.',
  },
  payload_too_large: {
    status: 413,
    retry: false,
    fix: 'caller',
    title: 'The request body is too large',
    remedy: 'Send at most the bytes that the message names; images and lists are read from storage, never sent in a request.',
  },
  rate_limited: {
    status: 429,
    retry: true,
    fix: 'caller',
    title: 'Too many requests',
    remedy: 'Wait for the seconds in Retry-After.',
  },
  missing_file: {
    status: 422,
    retry: false,
    fix: 'data owner',
    title: 'A file of the dataset is missing',
    remedy: 'Put the file where the message says; it names the list that needs it.',
  },
  missing_column: {
    status: 422,
    retry: false,
    fix: 'data owner',
    title: 'A CSV file lacks a column',
    remedy: 'Add the column; the message names the columns expected.',
  },
  bad_row: {
    status: 422,
    retry: false,
    fix: 'data owner',
    title: 'A row of a CSV file cannot be read',
    remedy: 'Correct the file at the line and column named.',
  },
  empty_list: {
    status: 422,
    retry: false,
    fix: 'data owner',
    title: 'A list of the run has no image',
    remedy: 'Complete the files that the list is made from; or leave the list out of `prepare.lists` where no step reads it.',
  },
  folder_not_allowed: {
    status: 422,
    retry: false,
    fix: 'data owner',
    title: 'A file lies where no dataset may lie',
    remedy:
      'Put the files below a folder that is allowed, without links that lead out of it; or have the operator add the folder to CAIRN_DATASET_ROOTS. For a service of `cairn up`, its owner adds the folder by `cairn dataset add`.',
  },
  dataset_changed: {
    status: 422,
    retry: false,
    fix: 'data owner',
    title: 'A file of the dataset is not the one that was registered',
    remedy: 'Put the registered file back, or register the files as they are with `cairn dataset add` and run on the new version.',
  },
  corrupt_tar: {
    status: 422,
    retry: false,
    fix: 'data owner',
    title: 'A tar file is corrupt',
    remedy: 'Fetch the tar again; its md5 or its headers do not fit.',
  },
  too_many_bad_images: {
    status: 422,
    retry: false,
    fix: 'data owner',
    title: 'Too many images cannot be read',
    remedy: 'Mend or remove the images that the rejected list, or the log of the stage, names; or raise `maxBadImageShare`.',
  },
  unsafe_file: {
    status: 422,
    retry: false,
    fix: 'caller',
    title: 'A file would run code when it is read',
    remedy: 'Take the file from its publisher again, or have its author save the data alone. Do not read it by other means.',
  },
  unreadable_file: {
    status: 422,
    retry: false,
    fix: 'caller',
    title: 'A file to import cannot be read',
    remedy: 'Fetch or write the file again: it is cut off, empty, or of another format than the message names.',
  },
  content_mismatch: {
    status: 422,
    retry: false,
    fix: 'caller',
    title: 'What arrived is not what was announced',
    remedy: 'Send the file again; its size or sha256 changed on the way. Nothing of it was kept.',
  },
  corrupt_artifact: {
    status: 500,
    retry: false,
    fix: 'operator',
    title: 'A stored file does not fit its manifest',
    remedy: 'Check the storage; run again with `--no-reuse` for the step that made it.',
  },
  storage_full: {
    status: 507,
    retry: true,
    fix: 'operator',
    title: 'No space is left',
    remedy:
      'Free or add space where the message says (`cairn gc` removes what nothing refers to). A step that waits goes on by itself; for one that failed, `cairn retry` the run.',
  },
  storage_failed: {
    status: 503,
    retry: true,
    fix: 'operator',
    title: 'The object storage failed',
    remedy: 'Check the storage and its credentials.',
  },
  port_in_use: {
    status: 500,
    retry: true,
    fix: 'operator',
    title: 'A port is in use',
    remedy: 'Stop the program that holds the port, or choose another port.',
  },
  invalid_configuration: {
    status: 500,
    retry: false,
    fix: 'operator',
    title: 'The configuration is wrong',
    remedy: 'Correct every setting that the message names.',
  },
  program_failed: {
    status: 500,
    retry: true,
    fix: 'operator',
    title: 'A program ended unexpectedly',
    remedy: 'Read the log of the attempt; the message has its last lines.',
  },
  training_diverged: {
    status: 422,
    retry: false,
    fix: 'caller',
    title: 'The loss is not finite',
    remedy: 'Lower the learning rate or the scale; the ids of the batch are saved beside the log.',
  },
  model_mismatch: {
    status: 422,
    retry: false,
    fix: 'caller',
    title: 'A checkpoint or exported model does not fit',
    remedy: 'Compare the keys and shapes that the message names with the backbone of the recipe.',
  },
  out_of_memory: {
    status: 422,
    retry: false,
    fix: 'caller',
    title: 'A process used more memory than it may',
    remedy: 'Lower `batch` or `loaderWorkers`, or raise `memory` of the pool.',
  },
  shared_memory_full: {
    status: 422,
    retry: false,
    fix: 'caller',
    title: 'The shared memory of the loaders is full',
    remedy: 'Lower `loaderWorkers` or `batch`, or raise `sharedMemory` of the pool.',
  },
  deadline_exceeded: {
    status: 422,
    retry: false,
    fix: 'caller',
    title: 'The attempt ran longer than its pool allows',
    remedy: 'Raise `deadlineSeconds` of the pool and retry the run: it goes on from the last checkpoint.',
  },
  unschedulable: {
    status: 503,
    retry: true,
    fix: 'operator',
    title: 'No node can hold the pod now',
    remedy: 'Wait until a node is free, or compare GPUs, memory, node selector and tolerations of the pool with the nodes.',
  },
  quota_exceeded: {
    status: 503,
    retry: true,
    fix: 'operator',
    title: 'A quota is used up',
    remedy: 'Wait until something of the quota ends, or raise it; the message names it.',
  },
  image_not_pulled: {
    status: 500,
    retry: false,
    fix: 'operator',
    title: 'The container image cannot be pulled',
    remedy: 'Check name, digest and pull secret of the image of the pool; the message has the answer of the registry.',
  },
  container_not_created: {
    status: 500,
    retry: false,
    fix: 'operator',
    title: 'The container cannot be created',
    remedy: 'Check Secrets, mounts, user and command of the pool; the message names the one that is wrong.',
  },
  pod_not_started: {
    status: 503,
    retry: true,
    fix: 'operator',
    title: 'The pod was not started in time',
    remedy: "Look at the pod's events and the node's disks; the step is tried again by itself.",
  },
  pod_lost: {
    status: 503,
    retry: true,
    fix: 'operator',
    title: 'The pod was removed, killed or refused',
    remedy: 'Nothing, if it is rare: the step is tried again from its last checkpoint. The message says who removed it.',
  },
  node_lost: {
    status: 503,
    retry: true,
    fix: 'operator',
    title: 'The node does not answer or is gone',
    remedy: 'Look at the node; the step is tried again elsewhere, from its last checkpoint.',
  },
  gpu_failed: {
    status: 503,
    retry: true,
    fix: 'operator',
    title: 'A GPU of the node is unhealthy',
    remedy: 'Drain and reset the node that the message names; the step is tried again elsewhere.',
  },
  preempted: {
    status: 503,
    retry: true,
    fix: 'operator',
    title: 'The attempt gave way',
    remedy: 'Nothing: the step goes on from its last checkpoint when there is room.',
  },
  unavailable: {
    status: 503,
    retry: true,
    fix: 'operator',
    title: 'A part that is needed does not answer',
    remedy: 'Check PostgreSQL, the queue and the storage; /readyz names the part.',
  },
  protocol_mismatch: {
    status: 409,
    retry: false,
    fix: 'operator',
    title: 'Program and control plane speak different protocols',
    remedy:
      'Use a worker image of this release or the one before; a step with settings or inputs that are new in this release needs one of this release.',
  },
  internal: {
    status: 500,
    retry: false,
    fix: 'cairn',
    title: 'A fault in Cairn',
    remedy: 'Report it with the request id and the log.',
  },
} as const satisfies Record<string, ErrorRow>;

export type ErrorCode = keyof typeof errorTable;

export type CairnErrorOptions = {
  /** Machine-readable particulars: field errors, the nearest name, the file and line. */
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
