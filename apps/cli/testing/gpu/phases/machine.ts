import { cpus, freemem, release, totalmem } from 'node:os';
import { join } from 'node:path';
import { readGpus } from '@cairn/runtime';
import { z } from 'zod';
import { askPython, type PhaseContext } from '../phase.ts';
import { runWell } from '../run-bounded.ts';

export const rivals = join(import.meta.dirname, '../rivals.py');

const found = z.looseObject({ refusesByName: z.boolean() });

/** What the machine is: versions, driver and GPU, and whether a GPU of too old a kind would be refused by its name. */
export async function machine(context: PhaseContext): Promise<void> {
  const [processor] = cpus();
  context.record('node', process.version);
  context.record('kernel', release());
  context.record('processor', { model: processor?.model ?? null, cores: cpus().length, memoryBytes: totalmem(), freeBytes: freemem() });
  const python = found.parse(await askPython(context, rivals, ['machine'], "the trainer's Python"));
  context.record('python', python);
  if (!python.refusesByName) throw new Error('a GPU of too old a kind is not refused by its name');
  if (context.isDry) return;
  context.record('gpus', await readGpus({ env: process.env, signal: context.signal }));
  const [clockMhz, powerWatts, temperatureCelsius] = (await askNvidia(context, 'clocks.max.sm,power.limit,temperature.gpu')).split(/,\s*/);
  context.record('firstGpu', { clockMhz, powerWatts, temperatureCelsius });
}

/** What nvidia-smi says of the first GPU, as values between commas. */
export async function askNvidia(context: PhaseContext, query: string): Promise<string> {
  const args = ['--id=0', `--query-gpu=${query}`, '--format=csv,noheader,nounits'];
  const out = await runWell({ what: 'nvidia-smi', command: 'nvidia-smi', args, env: process.env, signal: context.signal, limitMs: 15_000 });
  return out.trim();
}
