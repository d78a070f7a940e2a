import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { agentExit } from '@cairn/contract';
import { expect, onTestFinished, test, vi } from 'vitest';
import { openAgentWorld, startMain } from '../testing/run-main.ts';
import { specOf } from '../testing/specs.ts';

vi.setConfig({ testTimeout: 30_000 });

/** An agent of a step on a machine whose nvidia-smi runs this shell script. */
async function openWithGpus(kind: 'train' | 'extract', gpus: number, script: string) {
  const folder = mkdtempSync(join(tmpdir(), 'cairn-nvidia-smi-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  writeFileSync(join(folder, 'nvidia-smi'), `#!/bin/sh\n${script}\n`);
  chmodSync(join(folder, 'nvidia-smi'), 0o755);
  const PATH = `${folder}:${process.env.PATH}`;
  const world = await openAgentWorld(specOf(kind), { PATH, CAIRN_GPUS: String(gpus) });
  expect(await startMain('agent', world.env).code).toBe(agentExit.failed);
  return { told: world.plane.logText('agent'), end: world.plane.state.finishes[0] };
}

const asked = 'test "$*" = "--query-gpu=index,name,driver_version,memory.total,compute_cap --format=csv,noheader,nounits" || exit 9';
const h200 = (index: number) => `echo '${index}, NVIDIA H200, 580.65.06, 143771, 9.0'`;
const k80 = (index: number) => `echo '${index}, Tesla K80, 470.256.02, 11441, 3.7'`;
const refusal = 'The GPU Tesla K80 has compute capability 3.7; ONNX Runtime needs 7.5. Use another GPU, or a pool without.';

test("an attempt's log has each GPU by its name, memory, driver and compute capability", async () => {
  const { told } = await openWithGpus('train', 2, `${asked}\n${h200(0)}\necho '1, NVIDIA GB10, 580.95.05, [N/A], 12.1'`);
  expect(told).toContain('GPU 0: NVIDIA H200, 140.4 GiB, driver 580.65.06, compute capability 9.0');
  expect(told).toContain('GPU 1: NVIDIA GB10, memory not known, driver 580.95.05, compute capability 12.1');
});

test('extraction on a GPU of too old a kind ends at once, by the name of the GPU', async () => {
  const { end } = await openWithGpus('extract', 2, `${h200(0)}\n${k80(1)}`);
  expect(end).toMatchObject({ outcome: 'failed', code: 'invalid_configuration', message: refusal });
});

test('an old GPU beside as many new ones as are used refuses nothing, nor does it to a training, whose torch may be built for it', async () => {
  for (const [kind, count, script] of [
    ['extract', 1, `${h200(0)}\n${k80(1)}`],
    ['train', 1, k80(0)],
  ] as const) {
    const { told, end } = await openWithGpus(kind, count, script);
    expect(told).toContain('Tesla K80');
    expect(end).not.toMatchObject({ message: refusal });
  }
});

test.each([
  ['fails', 'echo "NVIDIA-SMI has failed because it could not communicate with the NVIDIA driver." >&2; exit 9'],
  ['says something else', 'echo No devices were found'],
])('an nvidia-smi that %s is told and stops nothing', async (_, script) => {
  const { told, end } = await openWithGpus('extract', 1, script);
  expect(told).toContain('nvidia-smi does not describe the GPUs: ');
  expect(end).not.toMatchObject({ code: 'invalid_configuration' });
});
