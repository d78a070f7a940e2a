import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { chown, mkdir, open, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { CairnError } from '@cairn/contract';
import type { PostgresProgram } from './postgres-program.ts';

export const superuser = 'cairn';
export const database = 'cairn';

/** The content of the folder of an embedded PostgreSQL. */
export type PostgresFolder = {
  path: string;
  /** PostgreSQL's own data directory. */
  cluster: string;
  password: string;
  log: string;
  /** Which process runs a server on it: distinguishes a folder in use from one left behind. */
  ownerFile: string;
  portFile: string;
};

const oldLogBytes = 10 * 2 ** 20;

type Opening = {
  path: string;
  program: PostgresProgram;
  /** False leaves flushing the new cluster to the operating system; a power failure may lose it. */
  durable: boolean;
  signal: AbortSignal;
};

/**
 * Creates the folder at `path`, or opens it. The cluster is initialised once, under a temporary name and then renamed, so that
 * a kill halfway leaves nothing half made. The password is in a file that only the server's account may read.
 */
export async function openPostgresFolder({ path, program, durable, signal }: Opening): Promise<PostgresFolder> {
  const folder = resolve(path);
  await mkdir(folder, { recursive: true, mode: 0o700 });
  if (program.owner) await chown(folder, program.owner.uid, program.owner.gid);
  const passwordFile = join(folder, 'password');
  const cluster = join(folder, 'cluster');
  const log = join(folder, 'postgres.log');
  if (((await sizeOf(log)) ?? 0) > oldLogBytes) await rename(log, `${log}.1`);
  if ((await sizeOf(cluster)) === undefined) {
    await writeFile(passwordFile, randomBytes(24).toString('hex'), { mode: 0o600 });
    if (program.owner) await chown(passwordFile, program.owner.uid, program.owner.gid);
    await initialise({ folder, cluster, passwordFile, log, program, durable, signal });
  }
  const password = (await readFile(passwordFile, 'utf8')).trim();
  return { path: folder, cluster, password, log, ownerFile: join(folder, 'owner.json'), portFile: join(folder, 'port') };
}

type Initialisation = Omit<Opening, 'path'> & { folder: string; cluster: string; passwordFile: string; log: string };

async function initialise({ folder, cluster, passwordFile, log, program, durable, signal }: Initialisation): Promise<void> {
  const unfinished = join(folder, 'cluster.new');
  await rm(unfinished, { recursive: true, force: true });
  const args = [`--pgdata=${unfinished}`, `--username=${superuser}`, `--pwfile=${passwordFile}`, '--auth=scram-sha-256'];
  // The builtin provider sorts the same on every machine, whatever locales are installed.
  const locale = ['--encoding=UTF8', '--locale-provider=builtin', '--builtin-locale=C.UTF-8', '--locale=C'];
  await runToEnd(program, program.initdb, [...args, ...locale, ...(durable ? [] : ['--no-sync'])], { folder, log, signal });
  const single = ['--single', ...(durable ? [] : ['-F']), '-D', unfinished, 'postgres'];
  await runToEnd(program, program.postgres, single, {
    folder,
    log,
    signal,
    input: `create database ${database};\n`,
  });
  await rename(unfinished, cluster);
}

type Run = { folder: string; log: string; signal: AbortSignal; input?: string };

async function runToEnd(
  program: PostgresProgram,
  path: string,
  args: readonly string[],
  { folder, log, signal, input }: Run,
): Promise<void> {
  const output = await open(log, 'a', 0o600);
  try {
    const child = await program.start(path, args, { folder, stdin: input === undefined ? 'ignore' : 'pipe', log: output.fd });
    const stop = () => child.kill('SIGKILL');
    signal.addEventListener('abort', stop, { once: true });
    try {
      child.stdin?.end(input);
      const [code] = await once(child, 'close');
      signal.throwIfAborted();
      if (code !== 0) throw await postgresFailure(`${path} failed with code ${code}`, log);
    } finally {
      signal.removeEventListener('abort', stop);
    }
  } finally {
    await output.close();
  }
}

/** A CairnError `program_failed` with the last lines of the server's log. */
export async function postgresFailure(what: string, log: string): Promise<CairnError> {
  const text = await readFile(log, 'utf8').catch(() => '');
  const lines = text.trimEnd().split('\n').slice(-12);
  return new CairnError(
    'program_failed',
    `The embedded PostgreSQL: ${what}. The end of ${log}:\n${lines.map((line) => `  ${line}`).join('\n')}`,
    {
      details: { log, lines },
    },
  );
}

async function sizeOf(path: string): Promise<number | undefined> {
  try {
    return (await stat(path)).size;
  } catch {
    return undefined;
  }
}
