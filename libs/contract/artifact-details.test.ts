import { expect, test } from 'vitest';
import { artifactDetails } from './artifact-details.ts';
import { artifactKind } from './states.ts';

/** What version 0.1 wrote of each kind. */
const written = {
  lists: [
    { format: 'cairn-lists', testSeed: 0, lists: { clean: { rows: 3, images: 2, distinct: 2, classes: 2, path: 'lists/clean.parquet' } } },
  ],
  checkpoint: [
    { step: 40, epoch: 2.5, classes: 5, mapAt100Start: 0.2, mapAt100End: 0.6, galleryDigest: 'ab' },
    { imported: 'SER101ibn', backbone: 'se_resnet101_ibn_a', source: null, licence: 'MIT' },
  ],
  // The second was written before models could be exported in fp16.
  model: [
    { imageSize: 512, preprocessing: 'reference', precision: 'fp16', embeddingDim: 512, cosine: 0.9999, stage: '512_all' },
    { imageSize: 512, preprocessing: 'cairn', embeddingDim: 512, cosine: 1 },
  ],
  features: [{ list: 'index', rows: 9, rejected: 1, shards: 3, countProof: { listRows: 12, distinctIds: 10, rows: 9, rejected: 1 } }],
  tags: [{ rows: 9, rejected: 0, shards: 3, countProof: { distinctIds: 9, rows: 9, rejected: 0, idsSha256: 'ab' } }],
  votes: [{ rows: 9, rejected: 0, shards: 3, countProof: { distinctIds: 9, rows: 9, rejected: 0, idsSha256: 'ab' } }],
  candidates: [{ rows: 9, rejected: 0, shards: 3, countProof: { distinctIds: 9, rows: 9, rejected: 0, idsSha256: 'ab' } }],
  neighbours: [{ queries: 2, index: 'art_1', topK: 100 }],
  evaluation: [
    {
      mapAt100: { kaggle: { public: null, private: 0.7, all: 0.7 }, reference: null },
      cmc: null,
      queries: { list: 2, public: 0, private: 1, ignored: 1, withoutNeighbours: 0 },
      galleryDigest: 'ab',
      galleryRows: 9,
      topK: 100,
    },
  ],
  registration: [{ model: 'landmarks', metrics: { mapAt100: 0.7 } }],
  weights: [{ imported: 'resnet50-19c8e357', backbone: 'resnet50', source: 'torchvision', licence: null }],
  matcher: [{ imported: 'points', backbone: 'lightglue-end2end', source: null, licence: 'research only' }],
} as const;

test.each(artifactKind.options)('the details of %s are read as they were written, including keys that only people read', (kind) => {
  for (const details of written[kind]) expect(artifactDetails[kind].parse(details)).toMatchObject(details);
});

test('details that later steps need are required', () => {
  expect(artifactDetails.lists.safeParse({}).success).toBe(false);
  expect(artifactDetails.model.safeParse({ imageSize: 512 }).success).toBe(false);
  expect(artifactDetails.evaluation.safeParse({ queries: 12 }).success).toBe(false);
});
