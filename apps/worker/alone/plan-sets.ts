import { join } from 'node:path';
import { type AloneIdentity, type AloneJob, type AlonePlan, aloneImagesFile, CairnError, isCairnError } from '@cairn/contract';
import { planExtraction } from '@cairn/dataset';
import { sha256File, sha256Json } from '@cairn/runtime';
import { type ObjectStore, openStore, readManifest } from '@cairn/storage';
import { type EarlierSet, openEarlierSet } from '../extract/earlier-set.ts';
import type { FleetContext } from '../fleet/run-shards.ts';
import { type FoundSet, hasImages, isOfSameModel, type Ledger, planListKey, removeParts, storePlan } from './open-ledger.ts';

/** A set that the job asks for, and what is at its place. */
export type WantedSet = { model: string; prefix: string; identity: AloneIdentity; found: FoundSet };

/** What a set goes on from; `prefix` where that is in the same place. */
export type GoesOnFrom = { set: EarlierSet; prefix: string | null };
export type PlannedSet = { prefix: string; plan: AlonePlan; earlier: GoesOnFrom | null /** Planned now. */; isFresh: boolean };

type Planning = {
  context: Pick<FleetContext, 'stop' | 'log' | 'reporter'>;
  store: ObjectStore;
  /** Gets the list of images in the order in which they are read. */
  listPath: string;
  workDir: string;
};

/**
 * The plans of the sets, which share their images and shards: those of unfinished sets as they are, and new ones. A new one goes on from the
 * complete set in its place, or from the one that the job names.
 *
 * @throws CairnError `name_taken` for a list that lacks images of the set in its place, and for unfinished sets with other shards
 */
export async function planSets(sets: readonly WantedSet[], job: AloneJob, planning: Planning): Promise<PlannedSet[]> {
  const { context, store, listPath, workDir } = planning;
  const { reporter } = context;
  const signal = context.stop.asked;
  const { images, shardRows, listSha256 } = await planImages(sets, job, planning);
  const planned: PlannedSet[] = [];
  for (const [number, { prefix, identity, found }] of sets.entries()) {
    const isFresh = found.state !== 'unfinished';
    const retriesRejected = isFresh ? job.retryRejected : found.plan.retriesRejected;
    if (job.retryRejected && !retriesRejected)
      reporter.report({
        type: 'note',
        level: 'warning',
        message: `The set in ${prefix} is completed first; run the command again to read its rejected images`,
      });
    const from = await goesOnFrom({ prefix, identity, found }, job, store, signal);
    const folder = join(workDir, `earlier-${number}`);
    let earlier: GoesOnFrom | null = null;
    if (from !== null) {
      const earlierList = join(folder, 'list.parquet');
      await from.store.download(`${from.prefix}/${aloneImagesFile}`, earlierList, { signal });
      const keepsRejected = !retriesRejected;
      const set = await openEarlierSet(context, { ...from, folder, list: listPath, earlierList, keepsRejected, shardRows });
      const isInPlace = from.store === store && from.prefix === prefix;
      if (isInPlace && set.missing > 0) throw shrunk(prefix, store, set);
      earlier = { set, prefix: isInPlace ? prefix : null };
      const message = `${set.known} of ${set.images} images are taken over from ${from.prefix}; ${set.images - set.known} are read`;
      reporter.report({ type: 'note', level: 'info', message });
    }
    if (!isFresh) {
      planned.push({ prefix, plan: found.plan, earlier, isFresh });
      continue;
    }
    // What a run left that was killed after it had completed the set.
    await removeParts(store, prefix, signal);
    await store.put(planListKey(prefix), { file: listPath }, { signal });
    const plan: AlonePlan = {
      ...{ format: 'cairn-extraction', version: 1, digest: sha256Json(identity), identity, images, shardRows, listSha256, retriesRejected },
      createdAt: new Date().toISOString(),
    };
    await storePlan(store, prefix, plan, signal);
    planned.push({ prefix, plan, earlier, isFresh });
  }
  return planned;
}

type Images = Pick<AlonePlan, 'images' | 'shardRows' | 'listSha256'>;

/** The images and shards of all sets: those of an unfinished set, so that its shards stay; otherwise from the source as it is now. */
async function planImages(sets: readonly WantedSet[], job: AloneJob, { context, store, listPath }: Planning): Promise<Images> {
  const signal = context.stop.asked;
  const unfinished = sets.flatMap(({ prefix, found }) => (found.state === 'unfinished' ? [{ prefix, plan: found.plan }] : []));
  const [first] = unfinished;
  const other = unfinished.find(({ plan }) => plan.listSha256 !== first?.plan.listSha256 || plan.shardRows !== first.plan.shardRows);
  if (first !== undefined && other !== undefined) {
    const message = `The parts in ${first.prefix} and ${other.prefix} of ${store.url} have other shards: complete one of them first, without --also`;
    throw new CairnError('name_taken', message, { details: { prefixes: [first.prefix, other.prefix] } });
  }
  if (first !== undefined) {
    const { images, shardRows, listSha256 } = first.plan;
    await store.download(planListKey(first.prefix), listPath, { sha256: listSha256, signal });
    return { images, shardRows, listSha256 };
  }
  const { images } = await planExtraction({ list: job.list, source: job.source, places: job.places, out: listPath, signal });
  return { images, shardRows: job.shardRows, listSha256: await sha256File(listPath, signal) };
}

/** The complete set that a set goes on from: the one in its place, or the one that the job names. */
async function goesOnFrom(
  { prefix, identity, found }: Omit<WantedSet, 'model'>,
  { reuse }: AloneJob,
  store: ObjectStore,
  signal: AbortSignal,
): Promise<{ store: ObjectStore; prefix: string } | null> {
  if (found.state === 'other list') return { store, prefix };
  // A set of an earlier release does not say which files its features are of: all of it is extracted.
  if (found.state === 'complete') return hasImages(found.manifest) ? { store, prefix } : null;
  if (found.state === 'unfinished' && found.before !== null) return { store, prefix };
  if (reuse === null) return null;
  const from = { store: openStore(reuse.store), prefix: reuse.prefix };
  const manifest = await readManifest(from.store, from.prefix, signal).catch((error: unknown) => {
    if (!isCairnError(error, 'not_found')) throw error;
    throw new CairnError('missing_file', `--reuse: ${from.store.url} has no complete feature set in ${from.prefix}`, { cause: error });
  });
  if (isOfSameModel(manifest, identity)) return from;
  if (!hasImages(manifest)) {
    const message = `--reuse: the set in ${from.prefix} has no ${aloneImagesFile}, as those of runs and earlier releases: its features cannot be taken over`;
    throw new CairnError('model_mismatch', message, { details: { prefix: from.prefix } });
  }
  const message =
    `--reuse: the set in ${from.prefix} is of the model ${String(manifest.details.model)}, not ${identity.model}, or of another ` +
    'preprocessing or source; its features cannot be taken over';
  throw new CairnError('model_mismatch', message, { details: { found: manifest.details, expected: identity } });
}

function shrunk(prefix: string, store: ObjectStore, { missing, firstMissing }: EarlierSet): CairnError {
  const message =
    `The set in ${prefix} of ${store.url} has ${missing} images that the list lacks, such as ${firstMissing}: nothing was changed. ` +
    'For a set of the shorter list, which needs no extraction, choose another --out and give this one as --reuse';
  return new CairnError('name_taken', message, { details: { missing, firstMissing } });
}

/** Commits the shards that the set in the same place has as they are: their files stay where they are. */
export async function takeWhole(ledger: Ledger, { set, prefix }: GoesOnFrom): Promise<void> {
  for (const { index, rows, idsSha256, files } of set.whole) {
    if (ledger.commits.has(index)) continue;
    const stored = files.map((file) => ({ ...file, key: `${prefix}/${file.name}` }));
    await ledger.commit(index, { rows, rejected: 0, files: stored, idsSha256, seconds: { read: 0, decode: 0, infer: 0, write: 0 } });
  }
}
