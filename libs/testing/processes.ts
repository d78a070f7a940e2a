import { readdir, readFile } from 'node:fs/promises';

/** Resource usage of a process: processor seconds so far, and resident memory in MiB now. Linux. */
export type Usage = { cpuSeconds: number; residentMiB: number };

const clockTicks = 100;

export async function usageOf(pid: number): Promise<Usage> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8');
  return { cpuSeconds: (await timesOf(pid)).own, residentMiB: Number(/VmRSS:\s+(\d+) kB/.exec(status)?.[1]) / 1024 };
}

/** Processor seconds of a process and of its children, including those that have ended: PostgreSQL has one process per connection. */
export async function familySeconds(pid: number): Promise<number> {
  const { own, ended } = await timesOf(pid);
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name)).map(Number);
  // One that ends in the meantime is counted with the ended ones the next time.
  const others = await Promise.all(pids.map((other) => timesOf(other).catch(() => null)));
  return others.reduce((sum, other) => sum + (other?.parent === pid ? other.own + other.ended : 0), own + ended);
}

/** Of /proc/<pid>/stat (proc_pid_stat(5), fields 4 and 14 to 17): its own seconds and those of the children that it has waited for. */
async function timesOf(pid: number): Promise<{ parent: number; own: number; ended: number }> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8');
  // The command in parentheses may itself contain spaces.
  const [parent = 0, user = 0, system = 0, childUser = 0, childSystem = 0] = [1, 11, 12, 13, 14].map((field) =>
    Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[field]),
  );
  return { parent, own: (user + system) / clockTicks, ended: (childUser + childSystem) / clockTicks };
}

/** The environment of a program under test: PATH, and Node's compile cache, so that only the first start compiles. */
export function bareEnvironment(): Record<string, string> {
  const { PATH = '', NODE_COMPILE_CACHE } = process.env;
  return { PATH, ...(NODE_COMPILE_CACHE === undefined ? {} : { NODE_COMPILE_CACHE }) };
}
