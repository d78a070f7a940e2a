import { setImmediate as nextTurn } from 'node:timers/promises';
import type { BootstrapSettings, Interval, MapIntervals } from '@cairn/contract';

/** Values that are drawn between two turns of the event loop: a few milliseconds. */
const drawsPerTurn = 1_000_000;
/** Bounds the time of one interval to about half a second. */
const maxDraws = 50_000_000;
const defaultSamples = 10_000;
const fewestSamples = 100;
const level = 0.95;

export type Resampling = { samples?: number | undefined; seed?: number; signal?: AbortSignal | undefined };

/** The settings with which {@link intervalsOf} treats that many queries: without a number of samples fewer if there are many queries. */
export function bootstrapOf(queries: number, { samples, seed = 0 }: Resampling = {}): BootstrapSettings {
  const affordable = Math.max(fewestSamples, mostSamples(queries));
  return { method: 'percentile bootstrap over queries', level, samples: samples ?? Math.min(defaultSamples, affordable), seed };
}

/** How many samples of that many queries a server draws for one caller. */
export function mostSamples(queries: number): number {
  return Math.floor(maxDraws / Math.max(1, queries));
}

/**
 * The percentile interval of a mean (Efron and Tibshirani, An Introduction to the Bootstrap, chapter 13): values are drawn with replacement,
 * as many as there are, `samples` times; the interval holds the central 95 % of the means. Null without values. The order of the values
 * matters to the draws: sort them by query. Lets the event loop turn meanwhile.
 */
export async function intervalOf(values: Float64Array, settings: BootstrapSettings, signal?: AbortSignal): Promise<Interval> {
  if (values.length === 0) return null;
  const random = randomFrom(settings.seed);
  const means = await sampledMeans(settings.samples, values.length, signal, () => {
    let sum = 0;
    for (let count = 0; count < values.length; count++) sum += values[Math.floor(random() * values.length)] as number;
    return sum / values.length;
  });
  means.sort();
  const quantile = (share: number): number => means[Math.min(means.length - 1, Math.floor(share * means.length))] as number;
  const tail = (1 - settings.level) / 2;
  return { low: quantile(tail), high: quantile(1 - tail) };
}

/**
 * The two-sided p-value of a paired permutation test of a mean difference of zero: for each of `samples` draws the sign of every difference
 * is random, as if the two results of each query had been exchanged by chance. (Count + 1) / (samples + 1), so never zero.
 */
export async function permutationTest(differences: Float64Array, settings: BootstrapSettings, signal?: AbortSignal): Promise<number> {
  const changed = differences.filter((difference) => difference !== 0);
  const observed = Math.abs(changed.reduce((sum, difference) => sum + difference, 0));
  const random = randomFrom(settings.seed);
  const sums = await sampledMeans(settings.samples, changed.length, signal, () => {
    let sum = 0;
    for (const difference of changed) sum += random() < 0.5 ? difference : -difference;
    return Math.abs(sum);
  });
  // Sums of the same numbers in another order differ in their last bits.
  const tolerance = 1e-12 * changed.length;
  return (sums.filter((sum) => sum >= observed - tolerance).length + 1) / (settings.samples + 1);
}

/** Average precisions of queries, which are sorted by their ids; those by eval_cbir's definition are null where it skips the query. */
export type ScoredQuery = { usage: 'Public' | 'Private'; kaggle: number; reference: number | null };

/** The interval of each mean of a mAP. */
export async function intervalsOf(
  queries: readonly ScoredQuery[],
  settings: BootstrapSettings,
  signal?: AbortSignal,
): Promise<MapIntervals> {
  const kaggle = (some: readonly ScoredQuery[]) =>
    intervalOf(
      Float64Array.from(some, (query) => query.kaggle),
      settings,
      signal,
    );
  const of = (usage: ScoredQuery['usage']) => queries.filter((query) => query.usage === usage);
  const reference = queries.flatMap((query) => (query.reference === null ? [] : [query.reference]));
  return {
    kaggle: { public: await kaggle(of('Public')), private: await kaggle(of('Private')), all: await kaggle(queries) },
    reference: await intervalOf(Float64Array.from(reference), settings, signal),
  };
}

async function sampledMeans(samples: number, draws: number, signal: AbortSignal | undefined, sample: () => number): Promise<Float64Array> {
  const found = new Float64Array(samples);
  const perTurn = Math.max(1, Math.floor(drawsPerTurn / Math.max(1, draws)));
  for (let at = 0; at < samples; at++) {
    if (at > 0 && at % perTurn === 0) {
      await nextTurn();
      signal?.throwIfAborted();
    }
    found[at] = sample();
  }
  return found;
}

/** Numbers from 0 to 1, by a seed: mulberry32 (Tommy Ettinger, public domain). */
function randomFrom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
