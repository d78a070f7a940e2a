const mebibyte = 2 ** 20;

/** Sizes, counts and times; tests use smaller ones. */
export type S3Limits = {
  /** Of an upload's parts; a smaller object is one request. Parts in memory: `parallelParts` and two more. */
  partBytes: number;
  parallelParts: number;
  /** Of a copy's parts; one request copies a smaller object. */
  copyPartBytes: number;
  /** Names in one page of a listing, and in one request to remove: at most 1,000. */
  pageKeys: number;
  /** Of each request, including the first. */
  attempts: number;
  /** Before a retry: doubles from the first to the second. */
  pauseMs: number;
  maxPauseMs: number;
  connectMs: number;
  /** A request on which nothing is sent or received for this long is ended. */
  silenceMs: number;
  /** Of one read whose stream breaks without any data. */
  fruitlessResumes: number;
  /** Time to remove an upload that failed; otherwise the sweep finds it. */
  abortMs: number;
};

/** S3 allows no more parts, and only the last may be smaller than 5 MiB. */
export const maxParts = 10_000;

export const defaultS3Limits: S3Limits = {
  partBytes: 8 * mebibyte,
  parallelParts: 4,
  // One request can copy 5 GiB, but a server that copies byte by byte sends nothing in the meantime.
  copyPartBytes: 512 * mebibyte,
  pageKeys: 1000,
  // Pauses of 11 to 23 seconds in total: enough to wait for a server that restarts.
  attempts: 8,
  pauseMs: 200,
  maxPauseMs: 10_000,
  connectMs: 5_000,
  silenceMs: 60_000,
  fruitlessResumes: 5,
  abortMs: 5_000,
};
