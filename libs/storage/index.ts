export * from './artifact-manifest.ts';
export * from './attempt-files.ts';
export * from './commit-artifact.ts';
export * from './object-key.ts';
export * from './object-store.ts';
export * from './open-store.ts';
