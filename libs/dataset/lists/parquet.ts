/** Parquet as every reader takes it; pieces of this many rows can be read alone. */
export const parquet = '(format parquet, compression zstd, row_group_size 122880)';
