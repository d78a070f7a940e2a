import type { HookEvent } from './read-delivery.ts';

/** A delivery among those about the same branch, tag or pull request. */
export type DeliveredCommit = Pick<HookEvent, 'happenedAt' | 'before'> & {
  id: string;
  commit: string;
  /** Whether it has started a run, or is about to. */
  starts: boolean;
};

/** What deliveries are about: of those with the same subject the newest counts. */
export function historyOf({ branch, tag, source }: HookEvent): string {
  const [kind, name] =
    source.pullRequest !== null
      ? ['pull request', String(source.pullRequest)]
      : tag !== null
        ? ['tag', tag]
        : ['branch', branch ?? source.ref];
  return `${source.repository} ${kind} ${name}`;
}

/**
 * The delivery that starts a run and is newer than this one, which then arrived late, or was held; null where none is known to be. What
 * decides is the time that the sender gives. Without one, or within the same second, it is the commit before: a delivery is older than
 * one that went on from its commit, also over several. Where neither says anything, the later arrival is the newer one, so that no
 * commit is lost.
 *
 * @param others in the order of their arrival
 */
export function newerDelivery(delivery: Omit<DeliveredCommit, 'starts'>, others: readonly DeliveredCommit[]): DeliveredCommit | null {
  const isLater = (other: DeliveredCommit): boolean | null => {
    const [own, given] = [delivery.happenedAt?.getTime(), other.happenedAt?.getTime()];
    return own === undefined || given === undefined || own === given ? null : given > own;
  };
  const known = others.filter(({ id }) => id !== delivery.id);
  const later = known.findLast((other) => other.starts && isLater(other) === true);
  if (later !== undefined) return later;
  const undecided = known.filter((other) => isLater(other) === null);
  // It goes on from the newest, so a branch that was set back and pushed again is not taken for an old one.
  if (delivery.before !== null && undecided.at(-1)?.commit === delivery.before) return null;
  const reached = new Set([delivery.commit]);
  for (let size = 0; size < reached.size; ) {
    size = reached.size;
    for (const other of undecided) {
      if (other.before === null || other.commit === other.before || !reached.has(other.before)) continue;
      if (other.starts) return other;
      reached.add(other.commit);
    }
  }
  return null;
}
