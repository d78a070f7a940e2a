import type { ShardFile } from './shard-files.ts';

/** A shard of what is computed for each row of a feature set: a range of these rows. */
export type RowShardOptions = {
  from: number;
  count: number;
  /** Where the file is written, and its number. */
  outDir: string;
  part: number;
  onProgress?: (progress: { done: number; total: number }) => void;
};

export type RowShard = {
  file: ShardFile;
  /** Of the ids of the rows, each with a line end. */
  idsSha256: string;
  seconds: { read: number; decode: number; infer: number; write: number; total: number };
};

/** What computes shards of rows, with the feature sets open. */
export type RowShards = {
  /** Values of a vector. */
  dim: number;
  computeShard(options: RowShardOptions): Promise<RowShard>;
};
