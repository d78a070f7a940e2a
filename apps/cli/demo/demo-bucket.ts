import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { access, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { CairnError } from '@cairn/contract';
import { type ImageSplit, imageSplits, packTars } from '@cairn/dataset';
import {
  allSeaweedActions,
  endWithParent,
  inParallel,
  readDatasetRootsFile,
  seaweedArguments,
  seaweedIdentities,
  seaweedSockets,
  sleep,
  takeSeaweedPorts,
} from '@cairn/runtime';
import { type ObjectStore, openStore } from '@cairn/storage';
import { openLog, writePrivate } from '../service/service-home.ts';

/** A bucket of this machine that lasts as long as the home: its objects stay, its address and credentials change with each start. */
export type DemoBucket = {
  /** The URL of a prefix in it, for stores. */
  url(prefix: string): string;
  /** The variables that its clients need. */
  env: { AWS_ACCESS_KEY_ID: string; AWS_SECRET_ACCESS_KEY: string };
  close(): Promise<void>;
};

const bucket = 'cairn-demo';
const startLimitMs = 60_000;

/**
 * Starts SeaweedFS, which comes with the packages of the tests, on 127.0.0.1.
 *
 * @throws CairnError `invalid_configuration` without its program, `program_failed` with the end of its log
 */
export async function startDemoBucket({
  home,
  python,
  signal,
}: {
  home: string;
  python: string;
  signal: AbortSignal;
}): Promise<DemoBucket> {
  const program = join(python, '../weed');
  await access(program).catch((cause: unknown) => {
    throw new CairnError('invalid_configuration', `There is no S3 server at ${program}`, {
      details: {
        remedy: 'Unset CAIRN_PYTHON and start the demo by `npm run demo`, which installs one; or leave out --storage s3 and --images s3.',
      },
      cause,
    });
  });
  const folder = join(home, 'bucket');
  await mkdir(join(folder, 'data'), { recursive: true, mode: 0o700 });
  await mkdir(join(home, 'logs'), { recursive: true });
  const ports = await takeSeaweedPorts();
  const env = { AWS_ACCESS_KEY_ID: 'cairn-demo', AWS_SECRET_ACCESS_KEY: randomBytes(32).toString('base64url') };
  const identity = { name: 'demo', accessKey: env.AWS_ACCESS_KEY_ID, secretKey: env.AWS_SECRET_ACCESS_KEY, actions: allSeaweedActions };
  await writePrivate(join(folder, 's3.json'), seaweedIdentities([identity]));
  const logFile = join(home, 'logs/bucket.log');
  const log = await openLog(logFile);
  const args = seaweedArguments({ ports, folder, listen: '127.0.0.1', createsBuckets: true });
  const server = spawn(program, args, { cwd: folder, stdio: ['ignore', log.fd, log.fd], detached: true });
  const exited = once(server, 'exit');
  const watcher = server.pid === undefined ? null : endWithParent(server.pid, 'KILL');
  const close = async (): Promise<void> => {
    // A clean stop takes up to 16 seconds, while its parts wait for each other; what was written is on the disk.
    if (server.exitCode === null && server.signalCode === null) server.kill('SIGKILL');
    await exited;
    watcher?.cancel();
    await log.close();
    for (const socket of seaweedSockets(ports)) await rm(socket, { force: true });
  };
  try {
    await untilServing(`http://127.0.0.1:${ports['s3.port']}/`, {
      signal,
      hasEnded: () => server.exitCode !== null || server.signalCode !== null,
    });
  } catch (error) {
    await close();
    signal.throwIfAborted();
    const text = await readFile(logFile, 'utf8').catch(() => '');
    throw new CairnError('program_failed', `The S3 server did not start. The end of its log:\n${text.slice(-2000)}`, { cause: error });
  }
  return { url: (prefix) => `s3://${bucket}/${prefix}?endpoint=http://127.0.0.1:${ports['s3.port']}`, env, close };
}

async function untilServing(url: string, { signal, hasEnded }: { signal: AbortSignal; hasEnded: () => boolean }): Promise<void> {
  const end = AbortSignal.any([signal, AbortSignal.timeout(startLimitMs)]);
  for (;;) {
    const answer = await fetch(url, { signal: end }).catch(() => null);
    await answer?.body?.cancel();
    // Without a signature it refuses; then it serves.
    if (answer !== null && answer.status < 500) return;
    if (hasEnded()) throw new Error('it has ended');
    await sleep(50, end);
  }
}

/** As a team's collection is in a bucket: some tars a split, in the layout of GLDv2. */
const tarsOfSplit: Record<ImageSplit, number> = { train: 4, index: 2, test: 1 };

/** Puts a collection into the bucket, its images as tars, once. Returns its address, without what says how to reach it. */
export async function uploadCollection({ url }: Pick<DemoBucket, 'url'>, folder: string, signal: AbortSignal): Promise<string> {
  const address = url(`datasets/${basename(folder)}`);
  const store = openStore(address);
  if ((await store.head('uploaded', signal)) === null) {
    const scratch = await mkdtemp(join(folder, '.tars-'));
    try {
      for (const split of imageSplits) {
        const root = join(folder, 'images', split);
        const images = (await readdir(root, { recursive: true })).filter((path) => path.endsWith('.jpg')).sort();
        const members = images.map((path) => ({ id: basename(path, '.jpg'), read: () => readFile(join(root, path)) }));
        await packTars(scratch, split, members, tarsOfSplit[split], signal);
      }
      await uploadFolder(store, scratch, '', signal);
    } finally {
      await rm(scratch, { recursive: true, force: true });
    }
    for (const part of ['metadata', 'countries']) await uploadFolder(store, join(folder, part), `${part}/`, signal);
    await store.put('uploaded', 'whole\n', { signal });
  }
  return address.split('?')[0] ?? '';
}

async function uploadFolder(store: ObjectStore, folder: string, prefix: string, signal: AbortSignal): Promise<void> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  await inParallel(files.values(), 8, async (file) => {
    await store.put(`${prefix}${file.slice(folder.length + 1)}`, { file }, { signal });
  });
}

/** Lets the service read datasets in the bucket, at its present address and no other. */
export async function allowDatasets(made: DemoBucket, rootsFile: string): Promise<void> {
  const others = (await readDatasetRootsFile(rootsFile)).filter((root) => !root.startsWith(`s3://${bucket}/`));
  await writePrivate(rootsFile, `${JSON.stringify([...others, made.url('datasets')], null, 2)}\n`);
}

/** @throws CairnError `wrong_state` if the home's artifacts are in storage of the other kind */
export async function requireSameStorage(home: string, storage: 'folder' | 's3'): Promise<void> {
  const record = join(home, 'demo-storage');
  await mkdir(home, { recursive: true });
  const known = await readFile(record, 'utf8').catch(() => null);
  const before = known?.trim() ?? ((await readdir(home)).includes('postgres') ? 'folder' : null);
  if (before !== null && before !== storage)
    throw new CairnError('wrong_state', `The artifacts of ${home} are in ${before === 's3' ? 'a bucket' : 'a folder'}`, {
      details: { remedy: `Use --storage ${before}, or another --home.` },
    });
  await writeFile(record, `${storage}\n`);
}
