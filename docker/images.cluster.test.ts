// CI runs this when docker/build, docker/worker, docker/control-plane, docker/trainer/requirements.txt, docker/trainer/constraints.txt, package-lock.json change, else one time in three; it takes about 60 s.
import { execFile } from 'node:child_process';
import { appendFile, copyFile, mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import Docker from 'dockerode';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';

// Where the engine has built nothing of them yet, the first build takes many minutes.
vi.setConfig({ testTimeout: 1_200_000, hookTimeout: 2_400_000 });

const run = promisify(execFile);
const docker = new Docker();
const root = join(import.meta.dirname, '..');
const tag = `test-${process.pid}`;
const worker = `cairn-worker:${tag}`;
const controlPlane = `cairn-control-plane:${tag}`;
/** More options of `docker build`, as a build needs them that reaches the package registries in its own way. */
const buildOptions = (process.env.CAIRN_TEST_BUILD_OPTIONS ?? '').split(' ').filter((option) => option !== '');

let checkout: string;
beforeAll(async () => {
  checkout = await copyOfSources();
  await build();
});
afterAll(async () => {
  for (const image of [worker, controlPlane]) await docker.getImage(image).remove();
  await rm(checkout, { recursive: true });
});

async function build(): Promise<string> {
  const { stdout } = await run(process.execPath, ['docker/build/images.mjs', '--tag', tag, ...buildOptions], {
    cwd: checkout,
    maxBuffer: 1 << 26,
  });
  return stdout;
}

/** What a fresh clone has, and what was not committed yet. */
async function copyOfSources(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'cairn-images-'));
  const { stdout } = await run('git', ['ls-files', '--cached', '--others', '--exclude-standard', '-z'], { cwd: root, maxBuffer: 1 << 24 });
  for (const file of stdout.split('\0').filter((name) => name !== '')) {
    await mkdir(dirname(join(folder, file)), { recursive: true });
    await copyFile(join(root, file), join(folder, file));
  }
  return folder;
}

type Ended = { code: number; out: string };

/** Runs a command as an attempt's container runs: a read-only root, and the image's own user. */
async function inside(image: string, command: string[], options: string[] = []): Promise<Ended> {
  const args = [
    'run',
    '--rm',
    '--read-only',
    '--tmpfs',
    '/tmp',
    '--tmpfs',
    '/var/lib/cairn',
    '--network',
    'none',
    ...options,
    image,
    ...command,
  ];
  try {
    const { stdout, stderr } = await run('docker', args, { maxBuffer: 1 << 24 });
    return { code: 0, out: `${stdout}${stderr}`.trim() };
  } catch (error) {
    const { code, stdout, stderr } = error as { code: number; stdout: string; stderr: string };
    return { code, out: `${stdout}${stderr}`.trim() };
  }
}

const layersOf = async (image: string) => (await docker.getImage(image).inspect()).RootFS.Layers ?? [];

describe.each([
  ['worker', worker],
  ['control-plane', controlPlane],
])('the image %s', (_, image) => {
  test('runs as user 10001, with the Node of package.json', async () => {
    expect((await docker.getImage(image).inspect()).Config.User).toBe('10001:10001');
    expect((await inside(image, ['id', '-u'])).out).toBe('10001');
    expect((await inside(image, ['node', '--version'])).out).toBe(process.version);
  });

  test('holds no cache, no clone, no tests of ours, nothing that builds, and no program that gains rights', async () => {
    const unwanted = ['.npm', '_cacache', '.cache', '.git', '*.deb', '*.whl', 'pip', 'npm', 'gcc'].flatMap((name) => ['-o', '-name', name]);
    const places = ['/root', '/tmp', '/var/cache', '/var/lib/apt/lists', '/usr/bin', '/usr/local', '/opt'];
    const search = ['find', ...places, '-xdev', '-path', '*/node_modules/*', '-prune', '-o', '(', '-false', ...unwanted, ')', '-print'];
    expect((await inside(image, search, ['--user', '0'])).out).toBe('');
    const own = [
      'find',
      'apps',
      'libs',
      '-name',
      '*.test.ts',
      '-o',
      '-path',
      '*/testing/*',
      '!',
      '-name',
      'package.json',
      '-o',
      '-name',
      'fixtures',
    ];
    expect((await inside(image, own)).out).toBe('');
    const { out } = await inside(image, ['find', '/opt', '/usr/local', '-perm', '/6000', '-type', 'f']);
    expect(out).toBe('');
  });

  test('holds no secret in its description', async () => {
    const description = JSON.stringify([await docker.getImage(image).inspect(), await docker.getImage(image).history()]);
    expect(description).not.toMatch(/password|secret|_TOKEN|ACCESS_KEY/i);
  });
});

describe('the worker', () => {
  test('starts the agent by itself, which names what it lacks', async () => {
    expect(await inside(worker, ['node', 'apps/worker/main.ts'])).toMatchObject({
      code: 2,
      out: expect.stringMatching(/^usage: main\.ts agent\|tasks/),
    });
    expect(await inside(worker, [])).toMatchObject({ code: 78, out: expect.stringContaining('CAIRN_ATTEMPT_TOKEN is missing') });
  });

  test('takes its token from the file that CAIRN_ENV_FILE names', async () => {
    const script = 'echo CAIRN_ATTEMPT_TOKEN=cat_x > /tmp/env; CAIRN_ENV_FILE=/tmp/env exec node apps/worker/main.ts agent';
    const { code, out } = await inside(worker, ['sh', '-c', script]);
    expect(code).toBe(78);
    expect(out).toContain('CAIRN_INTERNAL_URL is missing');
    expect(out).not.toContain('CAIRN_ATTEMPT_TOKEN');
  });

  test('has the trainer with its packages as python3', async () => {
    const program =
      'import sys; sys.path.insert(0, "docker/trainer"); import cairn_trainer, onnx, onnxruntime, torch, torchvision; print(torch.ones(2, 2).matmul(torch.ones(2, 2)).sum().item())';
    expect(await inside(worker, ['python3', '-I', '-c', program])).toEqual({ code: 0, out: '8.0' });
  });

  test('loads ONNX Runtime, sharp and DuckDB', async () => {
    const program = `
      const { createRequire } = require('node:module');
      const from = (folder) => createRequire('/opt/cairn/app/libs/' + folder + '/x.ts');
      const backends = from('retrieval')('onnxruntime-node').listSupportedBackends().map(({ name }) => name);
      const size = from('dataset')('sharp')({ create: { width: 2, height: 2, channels: 3, background: 'red' } }).raw().toBuffer();
      const rows = from('dataset')('@duckdb/node-api').DuckDBInstance.create().then((db) => db.connect()).then((c) => c.runAndReadAll('select 1'));
      Promise.all([size, rows]).then(([pixels, reader]) => console.log(backends[0], pixels.length, reader.getRows().length));`;
    expect(await inside(worker, ['node', '-e', program])).toEqual({ code: 0, out: 'cpu 12 1' });
  });

  test('holds nothing of the control plane', async () => {
    expect((await inside(worker, ['ls', 'libs'])).out.split('\n')).toEqual([
      'client',
      'contract',
      'dataset',
      'queue',
      'retrieval',
      'runtime',
      'storage',
    ]);
  });
});

describe('the control plane', () => {
  test.each(['apps/api/main.ts', 'apps/controller/main.ts', 'libs/db/migrate.ts'])(
    'starts %s, which names what it lacks',
    async (program) => {
      expect(await inside(controlPlane, ['node', program])).toMatchObject({ code: 78, out: expect.stringContaining('CAIRN_DATABASE_URL') });
    },
  );

  test('starts the task worker and the command line', async () => {
    const tasks = await inside(controlPlane, ['node', 'apps/worker/main.ts', 'tasks']);
    expect(tasks).toMatchObject({ code: 78, out: expect.stringContaining('CAIRN_QUEUE_URL is missing') });
    const help = await inside(controlPlane, ['node', 'apps/cli/main.ts', '--help']);
    expect(help).toMatchObject({ code: 0, out: expect.stringContaining('submit') });
  });

  test('has no Python', async () => {
    expect((await inside(controlPlane, ['sh', '-c', 'command -v python3'])).code).not.toBe(0);
  });
});

test('a code change rebuilds only the last layer', async () => {
  const before = { worker: await layersOf(worker), controlPlane: await layersOf(controlPlane) };
  await appendFile(join(checkout, 'apps/worker/main.ts'), '\n// changed\n');
  const said = await build();
  for (const [image, layers] of [
    [worker, before.worker],
    [controlPlane, before.controlPlane],
  ] as const) {
    const after = await layersOf(image);
    expect(after.slice(0, -1)).toEqual(layers.slice(0, -1));
    expect(after.at(-1)).not.toBe(layers.at(-1));
    expect(said).toContain(`${image}  ${(await docker.getImage(image).inspect()).Id}`);
  }
});
