import { randomBytes } from 'node:crypto';
import { linkSync, renameSync, unlinkSync } from 'node:fs';
import { chmod, open, readFile, realpath, rename, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { CairnError, isCairnError, isDatasetUrl } from '@cairn/contract';
import {
  createExclusive,
  freePort,
  identityOf,
  isAlive,
  isPortFree,
  isSameProcess,
  makeFolder,
  processIdentity,
  readDatasetRootsFile,
  readRecord,
  replaceRecord,
} from '@cairn/runtime';
import { z } from 'zod';
import { clientFileOf, datasetRootsFileOf } from '../connection.ts';
import { formatAgo } from '../output/units.ts';

/** The files of one embedded service. */
export type ServiceHome = {
  path: string;
  /** Which process runs the service. */
  lockFile: string;
  /** The last ports. */
  portsFile: string;
  clientFile: string;
  tokenFile: string;
  postgresDir: string;
  storageDir: string;
  /** The folders that may hold datasets: `datasets/` of the home, and those that its owner allowed with `cairn dataset add`. */
  datasetRootsFile: string;
  /** Process records and work folders of the pool's attempts. */
  poolStateDir: string;
  /** The same for the steps that run on the control plane's machine. */
  taskStateDir: string;
  logFile: (program: string) => string;
  serverKey: string;
  /** The keys that seal stored secrets, as in CAIRN_SECRETS_KEYS. */
  secretsKeys: string;
  adminToken: string;
};

/** Larger logs are rotated when the service starts. */
const maxLogBytes = 20_000_000;

/**
 * Creates the home folder, accessible only to its owner, and its secrets, once.
 *
 * @throws CairnError `invalid_configuration` where the folder, or one of its files, cannot be created or read
 */
export async function openServiceHome(path: string): Promise<ServiceHome> {
  try {
    return await makeServiceHome(path);
  } catch (error) {
    if (isCairnError(error)) throw error;
    const why = error instanceof Error ? error.message : String(error);
    throw new CairnError('invalid_configuration', `The home folder ${path} cannot be used: ${why}`, {
      details: { remedy: 'Fix the problem in the message, or choose another folder with --home.' },
      cause: error,
    });
  }
}

async function makeServiceHome(path: string): Promise<ServiceHome> {
  // initdb builds a shell command of it, which cannot hold a line break.
  if (/[\r\n]/.test(path)) throw new Error('its path has a line break, and PostgreSQL cannot start in such a folder');
  const logs = join(path, 'logs');
  await makeFolder(logs);
  await chmod(path, 0o700);
  const tokenFile = join(path, 'admin.token');
  const storageDir = join(path, 'storage');
  await makeFolder(storageDir);
  const datasetsDir = join(path, 'datasets');
  await makeFolder(datasetsDir);
  const datasetRootsFile = datasetRootsFileOf(path);
  await allowDatasetRoots(datasetRootsFile, [datasetsDir]);
  return {
    path,
    lockFile: join(path, 'up.json'),
    portsFile: join(path, 'ports.json'),
    clientFile: clientFileOf(path),
    tokenFile,
    postgresDir: join(path, 'postgres'),
    storageDir,
    datasetRootsFile,
    poolStateDir: join(path, 'state', 'pool'),
    taskStateDir: join(path, 'state', 'tasks'),
    logFile: (program) => join(logs, `${program}.log`),
    serverKey: await secretIn(join(path, 'server.key'), ''),
    secretsKeys: await secretIn(join(path, 'secrets.keys'), 'k1:'),
    adminToken: await secretIn(tokenFile, 'cairn_'),
  };
}

/** The secret in a file; created at random (256 bits) if missing. */
async function secretIn(path: string, prefix: string): Promise<string> {
  try {
    const file = await open(path, 'wx', 0o600);
    const secret = `${prefix}${randomBytes(32).toString('base64url')}`;
    try {
      await file.writeFile(`${secret}\n`);
    } finally {
      await file.close();
    }
    return secret;
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'EEXIST')) throw error;
  }
  const secret = (await readFile(path, 'utf8')).trim();
  if (secret.length >= 32) return secret;
  throw new CairnError('invalid_configuration', `${path} has no valid secret: it has ${secret.length} characters instead of at least 32`, {
    details: { remedy: 'Remove the file; the next `cairn up` creates a new one.' },
  });
}

/** Adds folders, by their real paths, and addresses to those that may hold datasets: a link that changes later does not lead to an allowed folder. */
export async function allowDatasetRoots(file: string, folders: readonly string[]): Promise<void> {
  const known = await readDatasetRootsFile(file);
  // The service reports missing folders.
  const real = (await Promise.all(folders.map((folder) => (isDatasetUrl(folder) ? folder : realpath(folder).catch(() => null))))).filter(
    (folder) => folder !== null,
  );
  const roots = [...new Set([...known, ...real])];
  if (roots.length > known.length) await writePrivate(file, `${JSON.stringify(roots, null, 2)}\n`);
}

/** Writes a file that only its owner can read, whole or not at all. */
export async function writePrivate(path: string, text: string): Promise<void> {
  const temporary = `${path}.${process.pid}`;
  const file = await open(temporary, 'w', 0o600);
  try {
    await file.writeFile(text);
  } finally {
    await file.close();
  }
  await rename(temporary, path);
}

/** Opens a program's log for appending; one that has grown too large is kept as `.1` and started over. */
export async function openLog(path: string) {
  const size = await stat(path).then(
    (found) => found.size,
    () => 0,
  );
  if (size > maxLogBytes) await rename(path, `${path}.1`);
  return open(path, 'a', 0o600);
}

const lockRecord = z.object({ process: processIdentity, startedAt: z.string(), url: z.string().nullable() });
type LockRecord = z.infer<typeof lockRecord>;

type HomeLock = {
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

const portsSchema = z.object({ api: z.number().int(), internal: z.number().int() });
export type Ports = z.infer<typeof portsSchema>;

/** The purpose of each port, and the option that chooses another. */
const kinds = {
  api: { what: 'the API', option: '--port' },
  internal: { what: 'the agents', option: '--internal-port' },
} as const;

/**
 * The ports to listen on. 0 chooses the last port if it is free, else any free one, so that an agent that outlived its
 * service finds it again.
 *
 * @throws CairnError `port_in_use` naming the port and the option that chooses another
 */
export async function choosePorts(asked: Ports, portsFile: string): Promise<Ports> {
  const last = await lastPorts(portsFile);
  const ports = { api: await choose('api', asked.api, last), internal: await choose('internal', asked.internal, last) };
  if (ports.api === ports.internal) throw inUse('internal', ports.internal, 'is given for the API and for the agents');
  await writePrivate(portsFile, JSON.stringify(ports));
  return ports;
}

/** @throws CairnError `port_in_use` for the first of the ports that another program listens on */
export async function requireFree(ports: Ports): Promise<void> {
  for (const kind of ['api', 'internal'] as const) await choose(kind, ports[kind], null);
}

async function choose(kind: keyof Ports, asked: number, last: Ports | null): Promise<number> {
  if (asked !== 0) {
    if (await isPortFree(asked)) return asked;
    throw inUse(kind, asked, 'is in use by another program');
  }
  const before = last?.[kind];
  return before !== undefined && (await isPortFree(before)) ? before : freePort();
}

function inUse(kind: keyof Ports, port: number, why: string): CairnError {
  const { what, option } = kinds[kind];
  return new CairnError('port_in_use', `Port ${port} of 127.0.0.1, for ${what}, ${why}`, {
    details: { port, option, remedy: `Stop that program, or choose another port with ${option} N (0 chooses any free one).` },
  });
}

async function lastPorts(path: string): Promise<Ports | null> {
  try {
    return portsSchema.parse(JSON.parse(await readFile(path, 'utf8')));
  } catch {
    // None yet, or not one of ours: any port will do.
    return null;
  }
}
