import type { Readable } from 'node:stream';
import { CairnError, objectKeyFault } from '@cairn/contract';

/** What to store: bytes, text in UTF-8, a stream, or the content of a local file. */
export type ObjectSource = Uint8Array | string | Readable | { file: string };

type ObjectInfo = {
  bytes: number;
  modifiedAt: Date;
};

export type ListedObject = ObjectInfo & { key: string };

export type PutOptions = {
  /** Leaves an existing object as it is. */
  ifAbsent?: boolean;
  signal?: AbortSignal;
};

export type PutResult = {
  /** Of the content offered. */
  bytes: number;
  sha256: string;
  /** False when `ifAbsent` was set and the object existed. */
  written: boolean;
};

export type GetOptions = {
  /** Bytes from `start` up to but excluding `end` (default: the object's end). */
  range?: { start: number; end?: number };
  signal?: AbortSignal;
};

/**
 * Objects by key. A key is a path with forward slashes (see `objectKey`). An object appears with all its
 * bytes or not at all, and survives a power failure once `put` has ended.
 *
 * Errors, all CairnError: `invalid_path` for an invalid key, `not_found` for a missing object, `storage_full`,
 * `storage_failed`; an abort rejects with the signal's reason.
 */
export type ObjectStore = {
  /** As given to `openStore`, for messages. */
  url: string;
  put(key: string, source: ObjectSource, options?: PutOptions): Promise<PutResult>;
  /** The object's bytes as a stream; destroy it when it is not read to its end. */
  get(key: string, options?: GetOptions): Promise<Readable>;
  getBytes(key: string, options?: GetOptions): Promise<Buffer>;
  /**
   * Writes the object to a local file, which appears complete or not at all.
   * @throws CairnError `corrupt_artifact` when it does not have the expected digest; then the file is not written.
   */
  download(key: string, file: string, options?: { sha256?: string; signal?: AbortSignal }): Promise<{ bytes: number; sha256: string }>;
  head(key: string, signal?: AbortSignal): Promise<ObjectInfo | null>;
  /** The objects whose key starts with `<prefix>/`, or all for '', in the byte order of their keys. */
  list(prefix: string, signal?: AbortSignal): AsyncIterable<ListedObject>;
  /** Copies inside the store. Later writes to `from` do not reach `to`. */
  copy(from: string, to: string, signal?: AbortSignal): Promise<void>;
  /** A missing object is not an error. */
  remove(key: string, signal?: AbortSignal): Promise<void>;
  /** Removes every object whose key starts with `<prefix>/`. */
  removePrefix(prefix: string, signal?: AbortSignal): Promise<void>;
  /** Removes the leftovers of interrupted writes that have not changed for this long. Returns how many. */
  sweepTemporary(olderThanMs: number, signal?: AbortSignal): Promise<number>;
};

/**
 * The key, if it is safe ({@link objectKeyFault}).
 * @throws CairnError `invalid_path` that names the key and the problem.
 */
export function objectKey(key: string): string {
  const fault = objectKeyFault(key);
  if (fault !== null) throw new CairnError('invalid_path', `The object key ${JSON.stringify(key)} ${fault}.`, { details: { key } });
  return key;
}

/** A folder of keys: the same rules, and '' for the whole store; without a trailing slash. */
export function objectPrefix(prefix: string): string {
  return prefix === '' ? '' : objectKey(prefix);
}
