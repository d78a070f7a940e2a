/**
 * Parquet as every reader takes it; pieces of this many rows can be read alone. Of zstd the first level: ids hardly compress, and with
 * others the files are larger or take twice as long. A dictionary is for columns of few values.
 */
export const parquet = '(format parquet, compression zstd, compression_level 1, dictionary_size_limit 1000, row_group_size 122880)';
