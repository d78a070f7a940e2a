import { CairnError } from '@cairn/contract';

export type CountProofInput = {
  /** The ids of the list, as often as it has them. */
  list: Iterable<string>;
  /** The ids of the features' rows. */
  features: Iterable<string>;
  /** The ids of the rejected images. */
  rejected: Iterable<string>;
};

/** `rows + rejected = distinctIds`: every image of the list has one row or one reason. It goes into the manifest. */
export type CountProof = { listRows: number; distinctIds: number; rows: number; rejected: number };

/** What can be wrong with one id, in the words of the message. */
const faults = {
  missing: 'in neither the features nor the rejected images',
  unexpected: 'not in the list',
  repeated: 'twice in the features',
  rejectedTwice: 'twice in the rejected images',
  both: 'in the features and in the rejected images',
} as const;
type Fault = keyof typeof faults;

/**
 * Proves that a feature set is complete: each distinct id of the list is in the features or in the rejected images, once. The
 * list may repeat ids. Throws `corrupt_artifact` with the count and up to five examples of each fault otherwise.
 */
export function proveCounts({ list, features, rejected }: CountProofInput): CountProof {
  let listRows = 0;
  const expected = new Set<string>();
  for (const id of list) {
    listRows += 1;
    expected.add(id);
  }

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

  if (found.size === 0) return { listRows, distinctIds: expected.size, rows: rows.size, rejected: reasons.size };
  const sentences = [...found].map(([fault, { count, examples }]) => `${count} ${faults[fault]} (${examples.join(', ')})`);
  throw new CairnError(
    'corrupt_artifact',
    `The features do not fit the list of ${expected.size} images: ${sentences.join('; ')}. Extract the list again.`,
    { details: Object.fromEntries(found) },
  );
}
