import { readFile } from 'node:fs/promises';

/** What a process has used so far: processor seconds, and resident memory in MiB now. Linux. */
export type Usage = { cpuSeconds: number; residentMiB: number };

const clockTicks = 100;

export async function usageOf(pid: number): Promise<Usage> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const status = await readFile(`/proc/${pid}/status`, 'utf8');
  return {
    cpuSeconds: (Number(fields[11]) + Number(fields[12])) / clockTicks,
    residentMiB: Number(/VmRSS:\s+(\d+) kB/.exec(status)?.[1]) / 1024,
  };
}
