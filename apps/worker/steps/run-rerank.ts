import { mkdirSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import {
  type ArtifactDetails,
  assertOneOrigin,
  CairnError,
  featureFolders,
  type InputArtifact,
  isCairnError,
  matcherFile,
  needsReferences,
  originOf,
  usesFound,
  votingConstantsOf,
} from '@cairn/contract';
import { untilAborted } from '@cairn/runtime';
import type { z } from 'zod';
import type { AttemptContext, Runner } from '../agent/attempt-context.ts';
import { fetchArtifact, fetchFile, inputOf, uploadFile, withImportNames } from '../agent/stored-files.ts';
import { rerankAnswer } from '../child/messages.ts';
import { startChild } from '../child/start-child.ts';
import { fetchLabels } from './run-tag.ts';

/** One attempt at a search of several models together, reranked as `cairn search` does it. */
export const runRerank: Runner<'rerank'> = async (context) => {
  const { spec, workDir, stop, reporter } = context;
  const { weights, rerank, references: list, queryList = 'query', indexList = 'index', topK, blockRows } = spec.settings;
  const [out, scratch] = [join(workDir, 'rerank'), join(workDir, 'scratch')];
  for (const folder of [out, scratch]) mkdirSync(folder, { recursive: true });
  const votes = needsReferences(rerank);
  const fetch = (role: string): Promise<string> => fetchArtifact(context, inputOf(spec, role));
  refuseMixed(spec.inputs, Object.keys(weights));
  const models = [];
  const labels = votes ? await fetchLabels(context, list) : null;
  // By name: the database does not keep the order of a record, and the order in which similarities are added changes their last bits.
  for (const [name, weight] of Object.entries(weights).toSorted(([a], [b]) => (a < b ? -1 : 1))) {
    const of = (role: string): InputArtifact | undefined => spec.inputs[`${role}.${name}`];
    const used = usesFound(rerank, of('whitening') !== undefined);
    const [tagged, voted] = [used.tags ? of('tags') : undefined, used.votes ? of('votes') : undefined];
    const digest = (role: string): string => inputOf(spec, `${role}.${name}`).digest;
    const found = async <Sets>(input: InputArtifact | undefined, sets: () => Sets) =>
      input === undefined || labels === null
        ? null
        : { dir: await fetchArtifact(context, input), origin: { ...sets(), references: digest('references'), list: labels.sha256 } };
    // With tags and votes no vector of a reference is needed any more.
    const isWanted = (file: string): boolean =>
      tagged === undefined || voted === undefined || file.startsWith(`${featureFolders.metadata}/`);
    models.push({
      name,
      weight,
      queries: await fetch(`query.${name}`),
      index: await fetch(`index.${name}`),
      references: votes ? await fetchArtifact(context, inputOf(spec, `references.${name}`), isWanted) : null,
      tags: await found(tagged, () => ({ index: digest('index') })),
      votes: await found(voted, () => ({ query: digest('query'), constants: votingConstantsOf(rerank) })),
      whitening: of('whitening') === undefined ? null : await fetch(`whitening.${name}`),
    });
  }
  const listPath = async (name: string) => (await fetchFile(context, inputOf(spec, 'lists'), `lists/${name}.parquet`)).path;
  const { matcher } = spec.inputs;
  const matching =
    rerank.localMatching === null
      ? null
      : {
          imageRoot: spec.source.root,
          queryList: await listPath(queryList),
          indexList: await listPath(indexList),
          matcherPath: matcher === undefined ? null : (await fetchFile(context, matcher, matcherFile)).path,
          python: context.python,
          env: { ...context.env },
        };
  const threads = availableParallelism();
  const child = startChild(context);
  try {
    const job = {
      kind: 'rerank',
      models,
      labels: labels?.path ?? null,
      settings: rerank,
      matching,
      topK,
      blockRows,
      threads,
      out,
      scratch,
    } as const;
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
    const { queries, references, localMatching, unreadable } = await untilAborted(answer, stop.asked).catch((error: unknown) => {
      if (matcher === undefined || !isCairnError(error)) throw error;
      const { code, message, details } = error;
      throw new CairnError(code, withImportNames(context, message), { details, cause: error });
    });
    if (localMatching !== null && localMatching.unreadableImages > 0) reportUnmatched(context, localMatching.unreadableImages, unreadable);
    const file = await uploadFile(context, 'neighbours.parquet', { file: join(out, 'neighbours.parquet') }, { signal: stop.asked });
    const index = inputOf(spec, `index.${models[0]?.name}`).id;
    const details: ArtifactDetails['neighbours'] = { queries, index, topK, models: weights, rerank, references, localMatching };
    return { outcome: 'succeeded', files: [file], details };
  } finally {
    await child.kill();
  }
};

/** How many images a note of the run's history names. */
const maxNamed = 10;

/** Names the images without inliers because they cannot be read: in the log, the first ones in the run's history. */
function reportUnmatched(
  { reporter, log }: Pick<AttemptContext, 'reporter' | 'log'>,
  count: number,
  images: z.infer<typeof rerankAnswer>['unreadable'],
): void {
  for (const image of images) log.warn(image, 'an image cannot be read and has no inliers');
  const named = images.slice(0, maxNamed).map(({ path, reason }) => `${path} (${reason})`);
  const more = count > maxNamed ? [`and ${count - maxNamed} more`] : [];
  const what = count === 1 ? '1 image cannot be read and has' : `${count} images cannot be read and have`;
  const message = `Local matching: ${what} no inliers: ${[...named, ...more].join(', ')}`;
  reporter.report({ type: 'note', level: 'warning', message: message.slice(0, 4000) });
}

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
