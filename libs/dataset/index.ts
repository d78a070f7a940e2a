export { type CheckDatasetOptions, type CheckedDataset, checkDataset, type InspectedDataset, inspectDataset } from './check-dataset.ts';
export type { FileDigest } from './digests.ts';
export { datasetDigest, fileDigest } from './digests.ts';
export {
  type ImageSplit,
  imageIdPattern,
  imagePath,
  imageSplits,
  makingBeside,
  memberPath,
  refuseTaken,
  requireFolder,
} from './folders.ts';
export type { ImageLocation, ImageReader, ImageRejection } from './images/image-reader.ts';
export { ImageUnavailable } from './images/image-reader.ts';
export { openImageReader } from './images/open-image-reader.ts';
export type { CheckedLists, CheckListsOptions, ListCount, MetadataIssue } from './lists/check-lists.ts';
export { checkLists } from './lists/check-lists.ts';
export {
  type GroundTruthEntry,
  type GroundTruthRow,
  type ImageRoot,
  type ListEntry,
  type ListRow,
  type ListsManifest,
  listsManifestName,
  readGroundTruth,
  readList,
  type TarIndexEntry,
  type WrittenFile,
} from './lists/manifest.ts';
export { type Difference, type PlanDifferenceOptions, planDifference } from './lists/plan-difference.ts';
export { type PlanExtractionOptions, planExtraction } from './lists/plan-extraction.ts';
export type { PrepareListsOptions } from './lists/prepare-lists.ts';
export { prepareLists } from './lists/prepare-lists.ts';
export { filesOfList } from './metadata/files.ts';
export { hasMetadata } from './metadata/find-metadata.ts';
export type { FetchedTars, FetchProgress, FetchTarsOptions } from './tars/fetch-tars.ts';
export { fetchTars, gldv2Address, tarsOfGldv2 } from './tars/fetch-tars.ts';
export type { TarIndex } from './tars/index-tars.ts';
export { splitsWithTars, tarsOfSplit } from './tars/index-tars.ts';
export { packTars } from './tars/pack-tars.ts';
export type { ScannedTar, TarMember } from './tars/scan-tar.ts';
export { type IndexedTar, tarIndexFolder, type WriteTarIndexOptions, type WrittenTarIndex, writeTarIndex } from './tars/write-tar-index.ts';
