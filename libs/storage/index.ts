export * from './artifacts.ts';
export * from './object-store.ts';
export * from './open-store.ts';
export type { ExpectedFile, Source, SourceFile } from './sources/source.ts';
export { openSource, type SourceLimits } from './sources/steady-source.ts';
