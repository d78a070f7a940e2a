import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { ArtifactDetails } from '@cairn/contract';
import { evaluateNeighbours, metricsName, openParquet, perQueryName } from '@cairn/retrieval';
import type { Runner } from '../agent/attempt-context.ts';
import { fetchFile, inputOf, uploadFile } from '../agent/stored-files.ts';

/** One attempt at an evaluation: both definitions of mAP with intervals, CMC, scores by query, and the submission, from what a search found. */
export const runEvaluate: Runner<'evaluate'> = async (context) => {
  const { spec, workDir, stop } = context;
  const lists = inputOf(spec, 'lists');
  const out = join(workDir, 'evaluation');
  mkdirSync(out, { recursive: true });
  const neighbours = await fetchFile(context, inputOf(spec, 'neighbours'), 'neighbours.parquet');
  const groundTruth = await fetchFile(context, lists, 'lists/ground_truth.parquet');
  const queryList = await fetchFile(context, lists, 'lists/query.parquet');
  const parquet = await openParquet();
  try {
    const metrics = await evaluateNeighbours({
      parquet,
      neighbours: neighbours.path,
      groundTruth: groundTruth.path,
      queryList: queryList.path,
      atK: spec.settings.atK,
      out,
      signal: stop.asked,
    });
    const files = [];
    for (const name of [metricsName, perQueryName, 'submission.csv']) {
      files.push(await uploadFile(context, name, { file: join(out, name) }, { signal: stop.asked }));
    }
    const details: ArtifactDetails['evaluation'] = { ...metrics };
    return { outcome: 'succeeded', files, details };
  } finally {
    await parquet.close();
  }
};
