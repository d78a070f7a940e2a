import { execFile } from 'node:child_process';
import { copyFile, mkdtemp, readdir, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { bareEnvironment, trainerPython } from '@cairn/testing';
import { expect, onTestFinished, test } from 'vitest';
import { z } from 'zod';
import { checkReport, phaseNames } from './check-report.ts';
import { mostPartBytes } from './pack.ts';

const run = promisify(execFile);

/** The programs of this machine that a bare one has too. */
const path = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/** In a network namespace of its own: takes its loopback up (SIOCSIFFLAGS, IFF_UP | IFF_RUNNING), lists its interfaces and runs the rest. */
const loopbackAlone = `
import fcntl, os, socket, struct, sys
with socket.socket() as any_socket:
    fcntl.ioctl(any_socket, 0x8914, struct.pack('16sH14x', b'lo', 0x41))
print('interfaces:', *[name for _, name in socket.if_nameindex()], flush=True)
os.execvp(sys.argv[1], sys.argv[1:])
`;

/** How the check ends when a phase failed, which the report describes. */
const phaseFailed = z.object({ code: z.literal(1), stdout: z.string() });

async function emptyFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'cairn-gpu-rehearsal-'));
  onTestFinished(() => rm(folder, { recursive: true, maxRetries: 3 }));
  return folder;
}

/** A machine without a network: root may make a network namespace, anyone else only within a user namespace, where the kernel allows it. */
async function withoutNetwork(): Promise<string[]> {
  const flags = process.getuid?.() === 0 ? '-n' : '-rn';
  try {
    await run('unshare', [flags, 'true']);
  } catch (error) {
    throw new Error(`the rehearsal needs a network namespace, which this machine refuses ("unshare ${flags} true" failed)`, {
      cause: error,
    });
  }
  return [flags, trainerPython(), '-I', '-c', loopbackAlone];
}

test('the packed parts, carried to an empty folder, run every phase dry without a network', { timeout: 840_000 }, async () => {
  const [packed, machine] = [await emptyFolder(), await emptyFolder()];
  const alone = await withoutNetwork();
  await run(process.execPath, [join(import.meta.dirname, 'main.ts'), 'pack', '--level', '0', '--out', packed], {
    env: { ...bareEnvironment(), CAIRN_PYTHON: trainerPython() },
    timeout: 600_000,
  });
  const files = await readdir(packed);
  const sizes = await Promise.all(files.map(async (file) => (await stat(join(packed, file))).size));
  expect(Math.max(...sizes)).toBeLessThanOrEqual(mostPartBytes);
  for (const file of files) await copyFile(join(packed, file), join(machine, file));

  const out = join(machine, 'report.json');
  const command = ['sh', join(machine, 'run.sh'), '--dry', '--limit-s', '1800', '--out', out];
  const { stdout } = await run('unshare', [...alone, ...command], {
    env: { PATH: path, PYTHON: trainerPython() },
    cwd: machine,
    timeout: 700_000,
    maxBuffer: 1 << 24,
  }).catch((error: unknown) => phaseFailed.parse(error));
  expect(stdout).toContain('interfaces: lo\n');

  const report = checkReport.parse(JSON.parse(await readFile(out, 'utf8')));
  expect(report.phases.map(({ name, outcome, failures }) => ({ name, outcome, failures }))).toEqual(
    phaseNames.map((name) => ({ name, outcome: 'done', failures: [] })),
  );
  expect(report.commit).toMatch(/^[0-9a-f]{40}/);
  const figures = Object.assign({}, ...report.phases.map((phase) => phase.figures));
  expect(figures).toMatchObject({
    raw: { places: { CPUExecutionProvider: expect.any(Number) } },
    tars: { rows: 24 },
    torch: { differentSets: 0 },
  });
  // The machine's torch, of whatever version, is all that is used: no wheel may bring one, or want one.
  expect(await readdir(join(machine, 'unpacked/wheels'))).toEqual([expect.stringMatching(/^tensorboardx-[\d.]+-py3-none-any\.whl$/)]);
});
