import { rm } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { type AttemptSpecOf, type FinishRequest, listsDetails, modelDetails } from '@cairn/contract';
import { sha256Json } from '@cairn/runtime';
import type { AttemptContext, Runner } from '../agent/attempt-context.ts';
import { fetchFile, inputOf } from '../agent/stored-files.ts';
import { type ChildJobOf, journalFile } from '../child/messages.ts';
import type { Shard } from '../fleet/held-shards.ts';
import { type FleetContext, type FleetWork, fleetClientOf, placesOf, runShards } from '../fleet/run-shards.ts';
import { computeWithCare } from './compute-shard.ts';
import { type EarlierSet, openEarlierSet } from './earlier-set.ts';
import { keepBatches } from './keep-batches.ts';

type ExtractContext = AttemptContext<AttemptSpecOf<'extract'>>;

/** One worker of an extraction: claims shard after shard until all are committed, and extracts each in a child. */
export const runExtract: Runner<'extract'> = (context) => extractOn(context, placesOf(context));

/** {@link runExtract} with one child per place: a GPU's number, or null for the CPU. */
export async function extractOn(
  context: ExtractContext,
  places: readonly (number | null)[],
  limits: Pick<Extraction, 'keepEveryMs'> & Pick<FleetContext, 'stragglerMs'> = {},
): Promise<FinishRequest> {
  const { spec } = context;
  const { stragglerMs, ...rest } = limits;
  const fleet = { ...context, client: fleetClientOf(context.client), ...(stragglerMs === undefined ? {} : { stragglerMs }) };
  const total = listsDetails.safeParse(inputOf(spec, 'lists').details).data?.lists[spec.settings.list]?.distinct ?? 0;
  const { open, earlier } = await openJob(context, places.length);
  return runShards(extractionWork(fleet, { open, places, total, earlier: [earlier], folder: context.workDir, ...rest }));
}

/** What the children open; their folders depend on the place. */
export type OpenJob = Omit<ChildJobOf<'openExtraction'>, 'device' | 'sets' | 'journals'> & {
  sets: readonly Pick<ChildJobOf<'openExtraction'>['sets'][number], 'modelPath' | 'extraction'>[];
};

export type Extraction = {
  open: OpenJob;
  places: readonly (number | null)[];
  total: number;
  /** Of each set, what it goes on from; null for nothing. */
  earlier: readonly (EarlierSet | null)[];
  /** The folder for what the children write. */
  folder: string;
  /** The sets that lack a shard; by default all. */
  setsOf?: (shard: Shard) => readonly number[];
  prefixes?: FleetWork['prefixes'];
  /** The prefix of what is kept of unfinished shards; by default that of the attempt. */
  keepAt?: string;
  /** The least time between two parts of a shard that are kept in the storage. */
  keepEveryMs?: number;
};

/** Shards are small where storage is far: what they lose with a worker is at most this. */
const keepEveryMs = 15_000;

/** The work of an extraction's children, with or without a control plane. */
export function extractionWork(context: FleetContext, extraction: Extraction): FleetWork {
  const { open, places, total, earlier, folder, prefixes } = extraction;
  const all = open.sets.map((_, set) => set);
  const setsOf = extraction.setsOf ?? (() => all);
  const folderOf = (place: number): string => join(folder, `place-${place}`);
  const journalsOf = (place: number): string => join(folderOf(place), 'journals');
  const keepers = places.map((_, place) =>
    keepBatches({
      ...{ context, folder: journalsOf(place), sets: all },
      ...{ prefix: extraction.keepAt ?? context.spec.stagingPrefix, everyMs: extraction.keepEveryMs ?? keepEveryMs },
    }),
  );
  return {
    context,
    places,
    total,
    ...(prefixes === undefined ? {} : { prefixes }),
    open: (device, place) => ({
      ...open,
      device,
      journals: journalsOf(place),
      sets: open.sets.map((set, number) => ({
        ...set,
        outDir: join(folderOf(place), `features-${number}`),
        earlier: earlier[number]?.rows ?? null,
      })),
    }),
    async compute(computing) {
      const { shard, place, isBackup, onProgress } = computing;
      const sets = setsOf(shard);
      const keeper = isBackup ? undefined : keepers[place];
      const uses = await Promise.all(sets.map((set) => earlier[set]?.use(shard)));
      try {
        const before = (await keeper?.fetch(shard)) ?? null;
        const answers = await computeWithCare({
          ...computing,
          ...{ context, journals: journalsOf(place), sets, before },
          remember: async (crashes) => keeper?.remember(shard.index, crashes),
          onProgress(progress) {
            keeper?.keep(shard.index);
            onProgress(progress);
          },
        });
        await keeper?.settle();
        for (const set of sets) await rm(join(journalsOf(place), journalFile(set, shard.index)), { force: true });
        return answers;
      } finally {
        for (const use of uses) await use?.end();
      }
    },
    committed: async ({ index }) => {
      for (const keeper of keepers) await keeper.discard(index);
    },
    // The decoder's threads and the reads share libuv's.
    env: { UV_THREADPOOL_SIZE: String(open.decodeConcurrency + 2) },
  };
}

/** The threads of each child: as many as are set, or its share of the cores. */
export const decodeThreadsOf = (set: number, places: number): number => set || Math.max(1, Math.floor(availableParallelism() / places));

/** Downloads model and list, once for all children, and builds the job with which a child opens them. */
async function openJob(context: ExtractContext, places: number): Promise<{ open: OpenJob; earlier: EarlierSet | null }> {
  const { spec } = context;
  const model = inputOf(spec, 'model');
  const details = modelDetails.parse(model.details);
  const { path: modelPath } = await fetchFile(context, model, 'model.onnx');
  const { path: listPath, sha256: list } = await fetchFile(context, inputOf(spec, 'lists'), `lists/${spec.settings.list}.parquet`);
  const open = {
    kind: 'openExtraction' as const,
    sets: [{ modelPath, extraction: sha256Json([model.digest, list]) }],
    listPath,
    imageRoot: spec.source.root,
    datasetRoots: [...context.datasetRoots],
    threads: spec.settings.threads,
    imageSize: details.imageSize,
    preprocessing: details.preprocessing,
    batch: spec.settings.batch,
    decodeConcurrency: decodeThreadsOf(spec.settings.decodeThreads, places),
    retriesRejected: spec.earlier?.keepsRejected === false,
  };
  return { open, earlier: await earlierOf(context, listPath) };
}

/** The earlier result that the control plane names; null for none, or where it is gone. */
async function earlierOf(context: ExtractContext, listPath: string): Promise<EarlierSet | null> {
  const { spec, workDir, store, stop } = context;
  const { earlier } = spec;
  if (earlier === null) return null;
  const folder = join(workDir, 'earlier');
  const earlierList = join(folder, 'list.parquet');
  try {
    await store.download(earlier.listKey, earlierList, { signal: stop.asked });
    const set = await openEarlierSet(context, {
      ...{ store, prefix: earlier.prefix.replace(/\/$/, ''), folder, list: listPath, earlierList, keepsRejected: earlier.keepsRejected },
    });
    context.reporter.report({
      ...{ type: 'note', level: 'info' },
      message: `${set.known} of ${set.images} images are taken over from ${earlier.id}, unread`,
    });
    return set;
  } catch (error) {
    stop.asked.throwIfAborted();
    const why = error instanceof Error ? error.message : String(error);
    context.reporter.report({ type: 'note', level: 'warning', message: `All images are extracted: ${earlier.id} cannot be read (${why})` });
    return null;
  }
}
