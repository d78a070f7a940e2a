import { readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { CairnError } from '@cairn/contract';
import { createExclusive, identityOf, isAlive, processIdentity, readRecord } from '../process-record.ts';
import { sleep } from '../waits.ts';
import type { PostgresFolder } from './postgres-folder.ts';

/**
 * Records in the folder that this process runs a server on it.
 * @throws CairnError `wrong_state` when another live process does.
 */
export async function takeFolder({ path, ownerFile }: PostgresFolder): Promise<void> {
  const self = identityOf(process.pid);
  for (;;) {
    if (createExclusive(ownerFile, self)) return;
    const holder = readRecord(ownerFile, processIdentity.nullable());
    if (holder !== null && isAlive(holder)) {
      throw new CairnError('wrong_state', `Process ${holder.pid} runs a PostgreSQL server on ${path}: stop it, or use another folder.`, {
        details: { pid: holder.pid, path },
      });
    }
    await rm(ownerFile, { force: true });
  }
}

export async function leaveFolder({ ownerFile }: PostgresFolder): Promise<void> {
  await rm(ownerFile, { force: true });
}

/**
 * Ends the server that a killed owner left running on the cluster, and removes the lock file of one that is gone (its
 * pid may belong to another program by now, and then PostgreSQL would refuse to start).
 */
export async function endLeftover({ cluster }: PostgresFolder, signal: AbortSignal): Promise<void> {
  const file = join(cluster, 'postmaster.pid');
  const { pid } = (await readPostmaster(cluster)) ?? {};
  if (pid === undefined) return;
  // Fast shutdown, then immediate (the next start recovers from the log), then by force.
  for (const [name, waitMs] of [
    ['SIGINT', 10_000],
    ['SIGQUIT', 5000],
    ['SIGKILL', 5000],
  ] as const) {
    const end = Date.now() + waitMs;
    if (await isServerOf(cluster, pid)) process.kill(pid, name);
    while (await isServerOf(cluster, pid)) {
      if (Date.now() > end) break;
      await sleep(20, signal);
    }
  }
  await rm(file, { force: true });
}

/** What a running server reports about itself in its lock file (miscadmin.h: line 1 the pid, line 8 the status). */
export async function readPostmaster(cluster: string): Promise<{ pid: number; isReady: boolean } | undefined> {
  const text = await readFile(join(cluster, 'postmaster.pid'), 'utf8').catch(() => undefined);
  const lines = text?.split('\n');
  const pid = Number(lines?.[0]);
  if (!Number.isInteger(pid) || pid <= 0) return undefined;
  return { pid, isReady: lines?.[7]?.trim() === 'ready' };
}

async function isServerOf(cluster: string, pid: number): Promise<boolean> {
  if (identityOf(pid) === null) return false;
  const line = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '');
  return line.split('\0').includes(cluster);
}
