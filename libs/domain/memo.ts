import { isDeepStrictEqual } from 'node:util';
import { type KindAndSettings, listsDetails, resultSettings } from '@cairn/contract';
import { rulesOf } from './step-kinds.ts';

/** Everything that a step's result depends on, by name. The memo key is the SHA-256 of its canonical JSON. */
export type MemoParts = {
  kind: string;
  /** Version of the step's code; null in rows of releases that stored the digest of its source files instead. */
  version: number | null;
  /** The settings marked `result`. */
  settings: Record<string, unknown>;
  /** Content digests of its inputs: an artifact by its role (`model`), a list as `lists.clean`. */
  inputs: Record<string, string>;
  /** Digest of the whole dataset, if all of it is read. */
  source: string | null;
};

/** An input as far as it is known: a plan may know a list of an artifact that does not exist yet. */
export type KnownInput = { digest: string | null; details: unknown };

/** The parts of a step's memo key, or the roles of the inputs that are not known yet. */
export type MemoPartsOf = { parts: MemoParts; unknown?: never } | { parts: null; unknown: string[] };

/** The parts of a step's memo key. `operational` settings, such as loader threads, are not part of it. */
export function memoParts(step: KindAndSettings, inputs: Readonly<Record<string, KnownInput>>, datasetDigest: string): MemoPartsOf {
  const { version, readsDataset, reads } = rulesOf(step);
  const digests: Record<string, string> = {};
  const unknown: string[] = [];
  for (const [role, input] of Object.entries(inputs)) {
    const reading = reads(role);
    if (reading === 'none') continue;
    if (reading === 'all') {
      if (input.digest === null) unknown.push(role);
      else digests[role] = input.digest;
      continue;
    }
    for (const list of reading.lists) {
      const digest = listDigest(input, list);
      if (digest === null) unknown.push(role);
      else digests[`${role}.${list}`] = digest;
    }
  }
  if (unknown.length > 0) return { parts: null, unknown: [...new Set(unknown)] };
  const { kind } = step;
  return {
    parts: { kind, version, settings: resultSettings(step), inputs: digests, source: readsDataset ? datasetDigest : null },
  };
}

/**
 * The digest of a list as a step reads it: its rows, which include sizes and times for images in folders, and the md5s of the tars that
 * hold its images. The digest of the whole artifact where an earlier release did not record these.
 */
function listDigest({ digest, details }: KnownInput, name: string): string | null {
  const { lists, groundTruth } = listsDetails.safeParse(details).data ?? {};
  if (name === 'ground_truth') return groundTruth?.sha256 ?? digest;
  const list = lists?.[name];
  if (list?.sha256 === undefined) return digest;
  return list.tarsDigest == null ? list.sha256 : `${list.sha256}, tars ${list.tarsDigest}`;
}

/** The first differences between two memo keys, in words: `setting epochs: 2, was 3`. */
export function explainDifference(now: MemoParts, before: MemoParts): string {
  const differences: string[] = [];
  const [settings, earlier] = [flat(now.settings), flat(before.settings)];
  for (const name of union(settings, earlier))
    if (!isDeepStrictEqual(settings[name], earlier[name]))
      differences.push(`setting ${name}: ${inWords(settings[name])}, was ${inWords(earlier[name])}`);
  const isComparable = before.version !== null;
  if (isComparable)
    for (const name of union(now.inputs, before.inputs))
      if (now.inputs[name] !== before.inputs[name]) differences.push(`its input ${name} changed`);
  if (now.source !== before.source && isComparable) differences.push('the dataset changed');
  if (!isComparable) differences.push('an earlier release of Cairn made it, which did not record step versions');
  else if (now.version !== before.version)
    differences.push(`this release computes it differently (version ${now.version}, was ${before.version})`);
  return differences.length > 0 ? differences.slice(0, 3).join('; ') : 'nothing differs';
}

/** Settings by name; nested ones as `model.backbone`. */
function flat(settings: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(settings).flatMap(([name, value]) =>
      typeof value === 'object' && value !== null && !Array.isArray(value)
        ? Object.entries(value).map(([inner, of]) => [`${name}.${inner}`, of])
        : [[name, value]],
    ),
  );
}

const inWords = (value: unknown): string => (value === undefined ? 'absent' : JSON.stringify(value));

const union = (a: object, b: object): string[] => [...new Set([...Object.keys(a), ...Object.keys(b)])].sort();

/** True when the step may reuse an earlier result: its kind is reusable, and the submission did not exclude it. */
export function mayReuse(step: KindAndSettings & { name: string }, noReuse: boolean | readonly string[]): boolean {
  if (!rulesOf(step).reusable) return false;
  return typeof noReuse === 'boolean' ? !noReuse : !noReuse.includes(step.name);
}
