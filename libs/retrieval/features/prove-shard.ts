import { CairnError } from '@cairn/contract';
import { sha256 } from '@cairn/runtime';

export type WrittenShard = {
  /** The shard's ids, each once, in the order of the list. */
  list: readonly string[];
  /** The ids of the features' rows. */
  features: Iterable<string>;
  /** The ids of the rejected images. */
  rejected: Iterable<string>;
};

/** The faults of an id, as shown in the message. */
const faults = {
  missing: 'in neither the features nor the rejected images',
  unexpected: 'not in the shard',
  repeated: 'twice in the features',
  rejectedTwice: 'twice in the rejected images',
  both: 'in the features and in the rejected images',
} as const;
type Fault = keyof typeof faults;

/**
 * Proves that a shard is complete: each of its ids is once in the features or in the rejected images, and there are no others. Returns the
 * SHA-256 of its ids, each with a line end.
 *
 * @throws CairnError `corrupt_artifact` with the count and up to five examples of each fault
 */
export function proveShard({ list, features, rejected }: WrittenShard): string {
  const expected = new Set(list);
  const found = new Map<Fault, { count: number; examples: string[] }>();
  const blame = (fault: Fault, id: string) => {
    const { count, examples } = found.get(fault) ?? { count: 0, examples: [] };
    found.set(fault, { count: count + 1, examples: count < 5 ? [...examples, id] : examples });
  };
  const rows = new Set<string>();
  for (const id of features) {
    if (rows.has(id)) blame('repeated', id);
    else if (!expected.has(id)) blame('unexpected', id);
    rows.add(id);
  }
  const reasons = new Set<string>();
  for (const id of rejected) {
    if (reasons.has(id)) blame('rejectedTwice', id);
    else if (rows.has(id)) blame('both', id);
    else if (!expected.has(id)) blame('unexpected', id);
    reasons.add(id);
  }
  for (const id of expected) if (!rows.has(id) && !reasons.has(id)) blame('missing', id);

  if (found.size === 0) return sha256(list.map((id) => `${id}\n`).join(''));
  const sentences = [...found].map(([fault, { count, examples }]) => `${count} ${faults[fault]} (${examples.join(', ')})`);
  throw new CairnError(
    'corrupt_artifact',
    `The written files do not match the ${expected.size} images of the shard: ${sentences.join('; ')}`,
    { details: Object.fromEntries(found) },
  );
}
