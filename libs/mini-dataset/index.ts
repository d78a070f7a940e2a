export type { MiniDatasetOptions } from './make-mini-dataset.ts';
export { makeMiniDataset } from './make-mini-dataset.ts';
export type { MiniManifest } from './manifest.ts';
export { miniManifestName, readMiniManifest } from './manifest.ts';
export type { MiniCounts } from './plan.ts';
export { miniCounts, tinyCounts } from './plan.ts';
