import { linkSync, renameSync, unlinkSync } from 'node:fs';
import { CairnError } from '@cairn/contract';
import { createExclusive, identityOf, isAlive, isSameProcess, processIdentity, readRecord, replaceRecord } from '@cairn/runtime';
import { z } from 'zod';
import { formatAgo } from '../output/units.ts';

const lockRecord = z.object({ process: processIdentity, startedAt: z.string(), url: z.string().nullable() });
type LockRecord = z.infer<typeof lockRecord>;

export type HomeLock = {
  /** Records the service's address, for programs that find the lock held. */
  noteUrl: (url: string) => void;
  release: () => void;
};

/**
 * Takes the home for this process: one `cairn up` per home. A lock whose process is gone is taken over; a pid that now belongs to
 * another program does not count.
 *
 * @throws CairnError `wrong_state` naming the process that holds it
 */
export function lockHome(lockFile: string, home: string): HomeLock {
  const self = identityOf(process.pid);
  if (self === null) throw new CairnError('invalid_configuration', '`cairn up` needs /proc, so it runs on Linux only');
  const record: LockRecord = { process: self, startedAt: new Date().toISOString(), url: null };
  while (!createExclusive(lockFile, record)) {
    const holder = readRecord(lockFile, lockRecord);
    if (holder !== null && isAlive(holder.process)) throw heldBy(holder, home);
    if (holder !== null) dropStale(lockFile, holder);
  }
  return {
    noteUrl: (url) => replaceRecord(lockFile, { ...record, url } satisfies LockRecord),
    release: () => unlinkSync(lockFile),
  };
}

function heldBy(holder: LockRecord, home: string): CairnError {
  const since = formatAgo(holder.startedAt, new Date());
  const where = holder.url === null ? '' : ` at ${holder.url}`;
  return new CairnError('wrong_state', `A service already runs on ${home}: process ${holder.process.pid}, started ${since}${where}`, {
    details: {
      pid: holder.process.pid,
      home,
      remedy: 'Use that one, stop it with Ctrl-C where it runs, or choose another folder with --home.',
    },
  });
}

/** Removes the lock of a dead process, unless another process has just replaced it. */
function dropStale(lockFile: string, stale: LockRecord): void {
  const aside = `${lockFile}.stale.${process.pid}`;
  try {
    renameSync(lockFile, aside);
  } catch (error) {
    // Another process was faster.
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return;
    throw error;
  }
  const moved = readRecord(aside, lockRecord);
  try {
    if (moved !== null && !isSameProcess(moved.process, stale.process)) linkSync(aside, lockFile);
  } finally {
    unlinkSync(aside);
  }
}
