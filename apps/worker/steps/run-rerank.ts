import { mkdirSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { type ArtifactDetails, assertOneOrigin, type InputArtifact, needsReferences, originOf } from '@cairn/contract';
import { untilAborted } from '@cairn/runtime';
import type { Runner } from '../agent/attempt-context.ts';
import { fetchArtifact, fetchFile, inputOf, uploadFile } from '../agent/stored-files.ts';
import { rerankAnswer } from '../child/messages.ts';
import { startChild } from '../child/start-child.ts';

/** One attempt at a search of several models together, reranked as `cairn search` does it. */
export const runRerank: Runner<'rerank'> = async (context) => {
  const { spec, workDir, stop, reporter } = context;
  const { weights, rerank, references: list, topK, blockRows } = spec.settings;
  const [out, scratch] = [join(workDir, 'rerank'), join(workDir, 'scratch')];
  for (const folder of [out, scratch]) mkdirSync(folder, { recursive: true });
  const votes = needsReferences(rerank);
  const fetch = (role: string): Promise<string> => fetchArtifact(context, inputOf(spec, role));
  refuseMixed(spec.inputs, Object.keys(weights));
  const models = [];
  // By name: the database does not keep the order of a record, and the order in which similarities are added changes their last bits.
  for (const [name, weight] of Object.entries(weights).toSorted(([a], [b]) => (a < b ? -1 : 1))) {
    models.push({
      name,
      weight,
      queries: await fetch(`query.${name}`),
      index: await fetch(`index.${name}`),
      references: votes ? await fetch(`references.${name}`) : null,
      whitening: spec.inputs[`whitening.${name}`] === undefined ? null : await fetch(`whitening.${name}`),
    });
  }
  const labels = votes ? (await fetchFile(context, inputOf(spec, 'lists'), `lists/${list}.parquet`)).path : null;
  const threads = availableParallelism();
  const child = startChild(context);
  try {
    const job = { kind: 'rerank', models, labels, settings: rerank, topK, blockRows, threads, out, scratch } as const;
    const answer = child.ask(job, rerankAnswer, ({ what, done, total }) => {
      reporter.progress({
        done,
        total,
        unit: 'rows',
        rate: null,
        etaSeconds: null,
        message: `${what ?? 'searching'}: ${done} of ${total}`,
      });
    });
    const { queries, references } = await untilAborted(answer, stop.asked);
    const file = await uploadFile(context, 'neighbours.parquet', { file: join(out, 'neighbours.parquet') }, { signal: stop.asked });
    const index = inputOf(spec, `index.${models[0]?.name}`).id;
    const details: ArtifactDetails['neighbours'] = { queries, index, topK, models: weights, rerank, references };
    return { outcome: 'succeeded', files: [file], details };
  } finally {
    await child.kill();
  }
};

/** Before anything is fetched: each model's features are of one model. */
function refuseMixed(inputs: Readonly<Record<string, InputArtifact>>, models: readonly string[]): void {
  for (const name of models) {
    const sets = ['query', 'index', 'references', 'whitening'].flatMap((role) => {
      const set = `${role}.${name}`;
      const input = inputs[set];
      return input === undefined ? [] : [{ set, origin: originOf(input.details) }];
    });
    assertOneOrigin(name, sets);
  }
}
