import type { Readable } from 'node:stream';

/** A file of a source. `path` is relative to it, with forward slashes. */
export type SourceFile = {
  path: string;
  bytes: number;
  /** In whole seconds, as HTTP headers have it. */
  changedMs: number;
  etag: string | null;
};

/** What a reader knows of a file in advance: it must still be that file. */
export type ExpectedFile = Pick<SourceFile, 'bytes' | 'changedMs'> & { etag?: string | null };

export type Opened = { body: Readable; file: SourceFile };

/** The requests of one kind of server, each sent once: what to do when they fail is decided by `steadySource`. */
export type SourceRequests = {
  /** Without query or credentials, for messages. */
  url: string;
  /** Null where there is no such file. */
  head(path: string, signal: AbortSignal): Promise<SourceFile | null>;
  /** The bytes from `start` up to but excluding `end`; null where there is no such file. */
  open(path: string, range: { start: number; end: number }, signal: AbortSignal): Promise<Opened | null>;
  /** The files directly in a folder, and the names of the folders in it; null where the server cannot list. */
  list: ((folder: string, signal: AbortSignal) => AsyncIterable<{ files: SourceFile[]; folders: string[] }>) | null;
  /** The error for users, and whether the same request may succeed a little later. */
  faultOf(error: unknown, path: string): { error: Error; mayPass: boolean };
  /** After an error about credentials: reads them again, as they may have been renewed. */
  renew(): void;
  close(): void;
};

/** A read-only place of files that other people keep: a prefix of a bucket, or a folder of a web server. */
export type Source = {
  /** For messages. */
  url: string;
  head(path: string, signal?: AbortSignal): Promise<SourceFile | null>;
  /**
   * The bytes of a range in chunks. Whatever breaks, stalls or is refused for a moment continues at the byte that was reached.
   *
   * @throws CairnError `missing_file`; `dataset_changed` if it is not the expected file, or becomes another; `source_denied`;
   *   `storage_failed` when the source does not come back in time; the signal's reason
   */
  read(path: string, options?: ReadOptions): AsyncGenerator<Uint8Array>;
  /** {@link Source.read} into one buffer. */
  readBytes(path: string, options?: ReadOptions): Promise<Buffer>;
  /** Null where the server cannot list, as most web servers. */
  list: ((folder: string, signal?: AbortSignal) => AsyncIterable<{ files: SourceFile[]; folders: string[] }>) | null;
  close(): void;
};

export type ReadOptions = {
  start?: number;
  /** Default: the end of the file. */
  end?: number;
  expected?: ExpectedFile | undefined;
  signal?: AbortSignal | undefined;
};
