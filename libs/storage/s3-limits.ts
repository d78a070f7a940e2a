const mebibyte = 2 ** 20;

/** How large, how often and how long; tests take smaller ones. */
export type S3Limits = {
  /** Of an upload's parts; a smaller object is one request. Parts in memory: `parallelParts` and two more. */
  partBytes: number;
  parallelParts: number;
  /** Of a copy's parts; a smaller object is copied by one request. */
  copyPartBytes: number;
  /** Names in one answer of a listing, and in one request to remove: at most 1,000. */
  pageKeys: number;
  /** Of each request, the first included. */
  attempts: number;
  /** Before a request is sent again: doubles from the first to the second. */
  pauseMs: number;
  longestPauseMs: number;
  connectMs: number;
  /** Nothing sent or received on a request for so long ends it. */
  silenceMs: number;
  /** Of one read whose stream breaks without having given anything. */
  fruitlessResumes: number;
  /** What an upload that failed may take to be removed; the sweep finds it otherwise. */
  abortMs: number;
};

/** S3 has no more parts, and none but the last smaller than 5 MiB. */
export const mostParts = 10_000;

export const defaultS3Limits: S3Limits = {
  partBytes: 8 * mebibyte,
  parallelParts: 4,
  // One request can copy 5 GiB, but a server that copies byte by byte is silent meanwhile.
  copyPartBytes: 512 * mebibyte,
  pageKeys: 1000,
  // Pauses of 11 to 23 seconds together: a server that restarts is waited for.
  attempts: 8,
  pauseMs: 200,
  longestPauseMs: 10_000,
  connectMs: 5_000,
  silenceMs: 60_000,
  fruitlessResumes: 5,
  abortMs: 5_000,
};
