import { readlinkSync } from 'node:fs';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { z } from 'zod';
import { createExclusive, identityOf, isAlive, processIdentity, readRecord } from './process-record.ts';

const ownerFile = 'owner.json';
/** Processes of another pid namespace, such as those of another container with the same folder, cannot be looked up. */
const ownerRecord = z.object({ process: processIdentity, namespace: z.string() });

const ownNamespace = (): string => readlinkSync('/proc/self/ns/pid');

/**
 * Makes a temporary folder of this process, and removes those of the same name whose processes have ended without removing them, as after
 * a SIGKILL.
 *
 * @param name the first part of its name
 * @param base the folder for temporary files
 */
export async function makeOwnFolder(name: string, base = tmpdir()): Promise<string> {
  const names = await readdir(base);
  for (const found of names.filter((one) => one.startsWith(name))) if (isAbandoned(join(base, found))) await discard(join(base, found));
  const folder = await mkdtemp(join(base, name));
  const self = identityOf(process.pid);
  if (self !== null)
    createExclusive(join(folder, ownerFile), { process: self, namespace: ownNamespace() } satisfies z.infer<typeof ownerRecord>);
  return folder;
}

function isAbandoned(folder: string): boolean {
  try {
    const owner = readRecord(join(folder, ownerFile), ownerRecord);
    return owner !== null && owner.namespace === ownNamespace() && !isAlive(owner.process);
  } catch {
    // It is another program's, or of a user whose files cannot be read.
    return false;
  }
}

/** Another process may be removing it too. */
async function discard(folder: string): Promise<void> {
  await rm(folder, { recursive: true, force: true }).catch(() => undefined);
}
