import { type Ensemble, ensemble } from '@cairn/contract';

/** The reference's final submission: four models with category rerank before their similarities are added (52.995 private mAP@100). */
export const submission: Ensemble = ensemble.parse({
  name: 'submission',
  description: 'The four models of the 2nd place solution of Google Landmark Retrieval 2021, searched together.',
  dataset: 'gldv2',
  models: { SER101ibn: {}, RXt101ibn: {}, ResNeSt101: {}, ResNeSt269: {} },
  imageSize: 512,
  preprocessing: 'reference',
  references: 'index_train',
  rerank: { category: 'before_merge', votes: 3, alpha: 1, beta: 0.1, k1: 10, k2: 3 },
});
