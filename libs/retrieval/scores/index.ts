// For programs that read and compare scores, without what searches and extracts.
export * from '../parquet/open-parquet.ts';
export * from './bootstrap.ts';
export * from './compare-results.ts';
export * from './scores-file.ts';
