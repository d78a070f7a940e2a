import { randomBytes } from 'node:crypto';
import { chmod, open, readFile, realpath, rename, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { CairnError, isCairnError } from '@cairn/contract';
import { makeFolder, readDatasetRootsFile } from '@cairn/runtime';
import { clientFileOf, datasetRootsFileOf } from '../connection.ts';

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
  adminToken: string;
};

/** Larger logs are rotated when the service starts. */
const maxLogBytes = 20_000_000;

/**
 * Creates the home folder, accessible only to its owner, and its two secrets, once.
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
  if (/[\r\n]/.test(path)) throw new Error('its path has a line break, and PostgreSQL starts in none that has one');
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

/** Adds folders to those that may hold datasets, by their real paths: a link that changes later does not lead to an allowed folder. */
export async function allowDatasetRoots(file: string, folders: readonly string[]): Promise<void> {
  const known = await readDatasetRootsFile(file);
  // The service reports missing folders.
  const real = (await Promise.all(folders.map((folder) => realpath(folder).catch(() => null)))).filter((folder) => folder !== null);
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
