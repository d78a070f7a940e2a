import {
  type ArtifactDetails,
  checkpointDetails,
  evaluationDetails,
  type ImageSource,
  type InputArtifact,
  modelDetails,
  neighboursDetails,
  weightsDetails,
} from '@cairn/contract';
import { markdownCode, markdownTable, markdownText } from '@cairn/runtime';
import type { Runner } from '../agent/attempt-context.ts';
import { inputOf, uploadFile } from '../agent/stored-files.ts';

/** The metrics of a model version, by name: shares from 0 to 1, and counts. mAP@100 has its 95 % interval, Low to High. */
export function modelMetrics(evaluation: Record<string, unknown>, checkpoint: Record<string, unknown>): Record<string, number> {
  const scored = evaluationDetails.safeParse(evaluation).data;
  const trained = checkpointDetails.safeParse(checkpoint).data;
  const { kaggle, reference, intervals } = scored?.mapAt100 ?? {};
  const candidates: Record<string, number | null | undefined> = {
    mapAt100: kaggle?.all,
    mapAt100Low: intervals?.kaggle.all?.low,
    mapAt100High: intervals?.kaggle.all?.high,
    mapAt100Public: kaggle?.public,
    mapAt100Private: kaggle?.private,
    mapAt100Reference: reference,
    publicQueries: scored?.queries?.public,
    privateQueries: scored?.queries?.private,
    indexImages: scored?.galleryRows,
    trainedSteps: trained?.step,
    trainedEpochs: trained?.epoch,
  };
  return Object.fromEntries(Object.entries(candidates).flatMap(([name, value]) => (typeof value === 'number' ? [[name, value]] : [])));
}

type ModelCardInput = {
  model: string;
  /** Of an ensemble: the names of its models, which the roles of its inputs end with. */
  models?: readonly string[] | undefined;
  run: { id: string; name: string };
  source: ImageSource;
  inputs: Record<string, InputArtifact>;
  metrics: Record<string, number>;
};

/** The card of a model version in Markdown: its origin, its scores, and the digests of everything it is made of. */
export function modelCard({ model, models, run, source, inputs, metrics }: ModelCardInput): string {
  const artifacts = Object.entries(inputs).toSorted(([a], [b]) => (a < b ? -1 : 1));
  const files = artifacts.flatMap(([role, { files: names }]) =>
    names.length > 8 ? [] : names.map((file) => [role, markdownText(file.name), String(file.bytes), markdownCode(file.sha256)]),
  );
  return [
    `# ${markdownText(model)}`,
    '',
    `${models === undefined ? origin(inputs.checkpoint?.details ?? {}) : ensemble(models, inputs)} by the run ${markdownCode(run.name)} (${run.id}).`,
    '',
    ...(models === undefined ? start(inputs.weights?.details ?? {}) : matching(inputs.matcher?.details ?? {})),
    '## Metrics',
    '',
    ...markdownTable(['metric', 'value'], metricRows(metrics)),
    '',
    ...gallery(inputs.evaluation?.details ?? {}),
    ...continentTable(inputs.evaluation?.details ?? {}),
    '## Use',
    '',
    ...(models === undefined ? [...usage(inputs.model?.details ?? {}), ''] : models.flatMap((name) => member(name, inputs))),
    '## Data',
    '',
    `Images: ${source.kind === 'tars' ? 'tars' : 'files'} below ${markdownCode(source.root)}; metadata: ${markdownCode(source.metadata)}.`,
    '',
    '## Lineage',
    '',
    ...markdownTable(
      ['role', 'artifact', 'kind', 'files', 'digest'],
      artifacts.map(([role, artifact]) => [
        role,
        artifact.id,
        artifact.kind,
        String(artifact.fileCount ?? artifact.files.length),
        markdownCode(artifact.digest),
      ]),
    ),
    '',
    '## Files',
    '',
    ...markdownTable(['role', 'file', 'bytes', 'sha256'], files),
    '',
  ].join('\n');
}

/** An imported model was trained elsewhere. */
function origin(checkpoint: Record<string, unknown>): string {
  const imported = importOf(checkpoint);
  return imported === null ? 'Trained and evaluated' : `Imported as ${imported}, exported and evaluated`;
}

/** Which models are searched together, with their weights, and how similarities are changed before they are added. */
function ensemble(models: readonly string[], { neighbours }: Inputs): string {
  const { models: weights, rerank } = neighboursDetails.safeParse(neighbours?.details).data ?? {};
  const named = models.map((name) => {
    const weight = weights?.[name];
    return `${markdownCode(name)}${weight === undefined ? '' : ` (weight ${weight})`}`;
  });
  const mode = rerank === undefined ? '' : `, rerank ${markdownCode(rerank.mode)}`;
  return `An ensemble of ${named.join(', ')}${mode}, searched together and evaluated`;
}

/** A model of an ensemble: where it comes from, and how it is used. */
function member(name: string, inputs: Inputs): string[] {
  const of = (role: string): Record<string, unknown> => inputs[`${role}.${name}`]?.details ?? {};
  const imported = importOf(of('checkpoint'));
  const from = imported === null ? '' : `, imported as ${imported}`;
  return [`Model ${markdownCode(name)}${from}.`, '', ...start(of('weights')), ...usage(of('model')), ''];
}

type Inputs = ModelCardInput['inputs'];

/** The published weights that training started from: their licence may bind users of the model. */
function start(weights: Record<string, unknown>): string[] {
  const imported = importOf(weights);
  if (imported === null) return [];
  const licence = weights.licence === null ? ' No licence was given when they were imported.' : '';
  return [`Training started from the weights ${imported}.${licence}`, ''];
}

/** The imported matcher that reordered the first images, whose licence may bind users of the ensemble too. */
function matching(matcher: Record<string, unknown>): string[] {
  const imported = importOf(matcher);
  if (imported === null) return [];
  const licence = matcher.licence === null ? ' No licence was given when it was imported.' : '';
  return [`Its first images were reordered with the matcher ${imported}.${licence}`, ''];
}

function importOf(details: Record<string, unknown>): string | null {
  const found = weightsDetails.safeParse(details).data;
  if (found === undefined) return null;
  const { imported, source, licence } = found;
  const from = source === null ? '' : ` from ${markdownText(source)}`;
  const under = licence === null ? '' : ` under the licence ${markdownText(licence)}`;
  return `${markdownCode(imported)}${from}${under}`;
}

/** Scores compare only on the same gallery: identifies it. */
function gallery(evaluation: Record<string, unknown>): string[] {
  const { galleryDigest, galleryRows, bootstrap } = evaluationDetails.safeParse(evaluation).data ?? {};
  if (!galleryDigest) return [];
  return [
    ...(bootstrap === undefined
      ? []
      : [
          `mapAt100Low to mapAt100High is the ${bootstrap.level * 100} % interval: ${bootstrap.method}, ${bootstrap.samples} samples, seed ${bootstrap.seed}.`,
          '',
        ]),
    `Measured on a gallery of ${galleryRows ?? '?'} images. SHA-256 of their sorted ids, one a line: ${markdownCode(galleryDigest)}.`,
    '',
  ];
}

function continentTable(evaluation: Record<string, unknown>): string[] {
  const scores = Object.entries(evaluationDetails.safeParse(evaluation).data?.byContinent ?? {});
  if (scores.length === 0) return [];
  const share = (value: number | undefined) => (value === undefined ? '' : `${(value * 100).toFixed(2)} %`);
  return [
    'mAP@100 of the queries of each continent:',
    '',
    ...markdownTable(
      ['continent', 'queries', 'mAP@100', '95 % interval'],
      scores.map(([name, { queries, kaggle, interval }]) => [
        name,
        String(queries),
        share(kaggle),
        interval === null ? '' : `${share(interval.low)} to ${share(interval.high)}`,
      ]),
    ),
    '',
  ];
}

function usage(details: Record<string, unknown>): string[] {
  const known = modelDetails.safeParse(details).data;
  if (known === undefined) return ['See the details of the artifact `model`.'];
  const { imageSize, preprocessing, embeddingDim, scales, flip } = known;
  return [
    `\`model.onnx\` takes \`images\`, uint8 [N, ${imageSize}, ${imageSize}, 3] in RGB, preprocessed as ${markdownCode(preprocessing)}, and returns`,
    `\`features\` [N, ${embeddingDim}] of unit length: compare them by their inner product.`,
    ...(scales === undefined ? [] : [`Each is the mean over the scales ${scales.join(', ')} of that size.`]),
    ...(flip === true ? ['It is also the mean over the image and its mirror image.'] : []),
  ];
}

const metricNames: Record<string, string> = {
  mapAt100: 'mAP@100',
  mapAt100Public: 'mAP@100, Public',
  mapAt100Private: 'mAP@100, Private',
  mapAt100Reference: 'mAP@100 by eval_cbir',
  publicQueries: 'queries, Public',
  privateQueries: 'queries, Private',
  indexImages: 'images in the gallery',
  trainedSteps: 'optimizer steps',
  trainedEpochs: 'epochs',
};

/** Metrics by name with their values. The interval of mAP@100 is in its row. */
function metricRows({ mapAt100Low, mapAt100High, ...metrics }: Record<string, number>): string[][] {
  const percent = (share: number): string => (share * 100).toFixed(2);
  return Object.entries(metrics).map(([name, value]) => {
    const between =
      name === 'mapAt100' && mapAt100Low !== undefined && mapAt100High !== undefined
        ? ` (95 % interval: ${percent(mapAt100Low)} to ${percent(mapAt100High)})`
        : '';
    const text = name.startsWith('mapAt') ? `${percent(value)} %${between}` : String(Math.round(value * 1000) / 1000);
    return [metricNames[name] ?? name, text];
  });
}

/** One attempt at a registration: writes the model's card. The control plane creates the version and its row. */
export const runRegister: Runner<'register'> = async (context) => {
  const { spec, stop } = context;
  const { model, models } = spec.settings;
  const metrics = modelMetrics(inputOf(spec, 'evaluation').details, spec.inputs.checkpoint?.details ?? {});
  const card = modelCard({ model, models, run: spec.run, source: spec.source, inputs: spec.inputs, metrics });
  const file = await uploadFile(context, 'card.md', card, { signal: stop.asked });
  const details: ArtifactDetails['registration'] = { model, metrics };
  return { outcome: 'succeeded', files: [file], details };
};
