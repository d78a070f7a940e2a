export type { MiniDatasetOptions } from './make-mini-dataset.ts';
export { makeMiniDataset } from './make-mini-dataset.ts';
export { type MiniManifest, miniManifestName, readMiniManifest } from './metadata.ts';
export type { MiniCounts } from './plan.ts';
export { miniCounts, tinyCounts } from './plan.ts';
