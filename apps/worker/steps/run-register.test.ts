import { defaultRerank } from '@cairn/contract';
import { expect, test } from 'vitest';
import { artifactOf, specOf } from '../testing/specs.ts';
import { modelCard, modelMetrics } from './run-register.ts';

test('mAP@100 has its interval', () => {
  const [around, none] = [
    { low: 0.4, high: 0.6 },
    { low: 0, high: 1 },
  ];
  const intervals = { kaggle: { public: none, private: null, all: around }, reference: around };
  const evaluation = { mapAt100: { kaggle: { public: null, private: null, all: 0.5 }, reference: null, intervals } };
  expect(modelMetrics(evaluation, {})).toEqual({ mapAt100: 0.5, mapAt100Low: 0.4, mapAt100High: 0.6 });
});

test('metrics that could not be measured are left out', () => {
  const evaluation = {
    mapAt100: { kaggle: { public: 0.5, private: null, all: 0.5 }, reference: null },
    queries: { public: 3, private: 0 },
  };
  expect(modelMetrics(evaluation, {})).toEqual({ mapAt100: 0.5, mapAt100Public: 0.5, publicQueries: 3, privateQueries: 0 });
  expect(modelMetrics({}, { step: 4 })).toEqual({ trainedSteps: 4 });
});

test('a name with a pipe or a line break cannot break the tables of the card', () => {
  const { run, source } = specOf('register');
  const model = artifactOf('model', 'models/art_1/', { 'a|b\nc': Buffer.from('x') });
  const card = modelCard({ model: 'm', run, source, inputs: { model }, metrics: {} });
  expect(card).toContain('| model | a\\|b c | 1 |');
});

test('the card identifies the gallery of the scores by its size and digest', () => {
  const { run, source } = specOf('register');
  const digest = 'ab'.repeat(32);
  const bootstrap = { method: 'percentile bootstrap over queries', level: 0.95, samples: 10_000, seed: 0 };
  const details = { mapAt100: {}, bootstrap, galleryDigest: digest, galleryRows: 78_959 };
  const evaluation = artifactOf('evaluation', 'evaluations/art_1/', {}, details);
  const card = modelCard({ model: 'm', run, source, inputs: { evaluation }, metrics: {} });
  expect(card).toContain(`Measured on a gallery of 78959 images. SHA-256 of their sorted ids, one a line: \`${digest}\`.`);
  expect(card).toContain('mapAt100Low to mapAt100High is the 95 % interval: percentile bootstrap over queries, 10000 samples, seed 0.');
  expect(modelCard({ model: 'm', run, source, inputs: {}, metrics: {} })).not.toContain('gallery');
});

test('the card of an imported model says where it comes from, and does not say that it was trained here', () => {
  const { run, source } = specOf('register');
  const details = { imported: 'SER101ibn', backbone: 'se_resnet101_ibn_a', source: 'https://example.org/a.pth', licence: 'MIT' };
  const checkpoint = artifactOf('checkpoint', 'checkpoints/art_1/', {}, details);
  const cardOf = (inputs: Parameters<typeof modelCard>[0]['inputs']) => modelCard({ model: 'm', run, source, inputs, metrics: {} });
  expect(cardOf({ checkpoint })).toContain(
    `Imported as \`SER101ibn\` from <https://example.org/a.pth> under the licence MIT, exported and evaluated by the run \`${run.name}\``,
  );
  expect(cardOf({})).toContain('Trained and evaluated by the run');
});

test('the card of an ensemble names each of its models, with its weight, its origin and its use', () => {
  const { run, source } = specOf('register');
  const details = { imported: 'theirs', backbone: 'resnet50', source: null, licence: 'MIT' };
  const rerank = { ...defaultRerank, mode: 'before_merge' };
  const inputs = {
    'model.A': artifactOf('model', 'models/art_1/', {}, { imageSize: 64, preprocessing: 'cairn', embeddingDim: 8, cosine: 1 }),
    'weights.A': artifactOf('weights', 'weights/art_2/', {}, { ...details, imported: 'published' }),
    'checkpoint.B': artifactOf('checkpoint', 'checkpoints/art_3/', {}, details),
    'model.B': artifactOf('model', 'models/art_4/', {}, { imageSize: 32, preprocessing: 'reference', embeddingDim: 16, cosine: 1 }),
    neighbours: artifactOf('neighbours', 'n/', {}, { queries: 1, index: 'art_1', topK: 10, models: { A: 1, B: 0.5 }, rerank }),
  };
  const card = modelCard({ model: 'm', models: ['A', 'B'], run, source, inputs, metrics: {} });
  expect(card).toContain(
    `An ensemble of \`A\` (weight 1), \`B\` (weight 0.5), rerank \`before_merge\`, searched together and evaluated by the run \`${run.name}\``,
  );
  const parts = card.slice(card.indexOf('## Use'), card.indexOf('## Data'));
  expect(parts).toMatch(/Model `A`\.\n\nTraining started from the weights `published` under the licence MIT\.\n\n.*\[N, 64, 64, 3\]/);
  expect(parts).toMatch(/Model `B`, imported as `theirs` under the licence MIT\.\n\n.*\[N, 32, 32, 3\]/);
  for (const [role, { id, digest }] of Object.entries(inputs)) expect(card).toMatch(new RegExp(`\\| ${role} \\| ${id} .*${digest}`));
});

test('the card of an ensemble names the imported matcher of its search, and its licence or that none was given', () => {
  const { run, source } = specOf('register');
  const cardOf = (licence: string | null) => {
    const details = { imported: 'superpoint_lightglue', backbone: 'lightglue-end2end', source: 'https://example.org/m.onnx', licence };
    const matcher = artifactOf('matcher', 'matchers/art_1/', {}, details);
    return modelCard({ model: 'm', models: [], run, source, inputs: { matcher }, metrics: {} });
  };
  expect(cardOf('research only')).toContain(
    'reordered with the matcher `superpoint_lightglue` from <https://example.org/m.onnx> under the licence research only.\n',
  );
  expect(cardOf(null)).toContain('from <https://example.org/m.onnx>. No licence was given when it was imported.');
  expect(modelCard({ model: 'm', models: [], run, source, inputs: {}, metrics: {} })).not.toContain('matcher');
});

test('a source, a licence or a path cannot forge a part of the card', () => {
  const { run, source } = specOf('register');
  const forged = 'MIT\n\n## Metrics\n\n| metric | value |\n| --- | --- |\n| mapAt100 | 99.00 % |\n\n<img src=x onerror=y>';
  const details = { imported: 'a', backbone: 'resnet50', source: forged, licence: forged };
  const inputs = {
    checkpoint: artifactOf('checkpoint', 'checkpoints/art_1/', {}, details),
    weights: artifactOf('weights', 'weights/art_1/', {}, details),
  };
  const card = modelCard({
    model: 'm',
    run,
    source: { ...source, root: `/data\`\n${forged}`, metadata: forged },
    inputs,
    metrics: { mapAt100: 0.5 },
  });
  expect(card.match(/^#+ .*$/gm)).toEqual(['# m', '## Metrics', '## Use', '## Data', '## Lineage', '## Files']);
  expect(card.match(/^\| mAP@100 .*$/gm)).toEqual(['| mAP@100 | 50.00 % |']);
  expect(card.replace(/(`+).*?[^`]\1(?!`)/g, '')).not.toContain('<img');
});

test('the card names the weights that training started from, and their licence or that none was given', () => {
  const { run, source } = specOf('register');
  const cardOf = (licence: string | null) => {
    const details = { imported: 'resnet50-19c8e357', backbone: 'resnet50', source: 'torchvision', licence };
    return modelCard({ model: 'm', run, source, inputs: { weights: artifactOf('weights', 'weights/art_1/', {}, details) }, metrics: {} });
  };
  expect(cardOf('BSD-3-Clause')).toContain(
    'Training started from the weights `resnet50-19c8e357` from torchvision under the licence BSD-3-Clause.\n',
  );
  expect(cardOf(null)).toContain('from torchvision. No licence was given when they were imported.');
  expect(modelCard({ model: 'm', run, source, inputs: {}, metrics: {} })).not.toContain('Training started');
});
