import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { z } from 'zod';

const limitMs = 15_000;
const fields = ['index', 'name', 'driver_version', 'memory.total', 'compute_cap'] as const;

/** What nvidia-smi says of one GPU. What it does not know is `[N/A]` there and null here. */
const gpu = z
  .tuple([
    z.coerce.number().int().min(0),
    z.string().min(1),
    z.string().min(1),
    z.coerce.number().int().min(0).nullable().catch(null),
    z.coerce.number().min(1).nullable().catch(null),
  ])
  .transform(([index, name, driver, memoryMib, computeCapability]) => ({ index, name, driver, memoryMib, computeCapability }));
export type Gpu = z.infer<typeof gpu>;

/**
 * The GPUs of this machine or container, in the order of nvidia-smi, which comes with the driver and is looked for in the PATH of `env`.
 * Throws where it is not found, fails, or says something else.
 */
export async function readGpus({ env, signal }: { env: NodeJS.ProcessEnv; signal: AbortSignal }): Promise<Gpu[]> {
  const args = [`--query-gpu=${fields.join(',')}`, '--format=csv,noheader,nounits'];
  const { stdout } = await promisify(execFile)('nvidia-smi', args, { env, signal, timeout: limitMs });
  const lines = stdout.split('\n').filter((line) => line.trim() !== '');
  return lines.map((line) => gpu.parse(line.split(',').map((value) => value.trim())));
}
