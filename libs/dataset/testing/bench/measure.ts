import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';

/** What a program took: wall and processor seconds, and the largest resident memory in MiB (Linux). */
export type Measured = { seconds: number; cpuSeconds: number; peakMiB: number };

const clockTicks = 100;
const pollMs = 50;

/** Runs a program to its end and measures it from outside, the same for every language. Its output is shown when it fails. */
export async function measure(command: string, args: readonly string[]): Promise<Measured> {
  const began = performance.now();
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  const output: Buffer[] = [];
  child.stdout.on('data', (chunk: Buffer) => output.push(chunk));
  child.stderr.on('data', (chunk: Buffer) => output.push(chunk));
  let [peakMiB, cpuSeconds, isOver] = [0, 0, false];
  const ended = once(child, 'close').then(() => {
    isOver = true;
  });
  while (!isOver) {
    // The kernel keeps the peak; only the last reading may miss what came after it.
    const status = await readFile(`/proc/${child.pid}/status`, 'utf8').catch(() => '');
    peakMiB = Math.max(peakMiB, Number(/VmHWM:\s+(\d+) kB/.exec(status)?.[1] ?? 0) / 1024);
    const stat = await readFile(`/proc/${child.pid}/stat`, 'utf8').catch(() => '');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    cpuSeconds = Math.max(cpuSeconds, (Number(fields[11] ?? 0) + Number(fields[12] ?? 0)) / clockTicks);
    await Promise.race([ended, delay(pollMs)]);
  }
  await ended;
  if (child.exitCode !== 0)
    throw new Error(`${command} ended with ${child.exitCode}: ${Buffer.concat(output).toString('utf8').slice(-2000)}`);
  return { seconds: (performance.now() - began) / 1000, cpuSeconds, peakMiB };
}

/** A table of what programs took, and how the first compares with each other one. */
export function report(programs: Record<string, Measured>): void {
  const shown = Object.entries(programs).map(([name, { seconds, cpuSeconds, peakMiB }]) => [
    name,
    { seconds: Number(seconds.toFixed(2)), 'processor seconds': Number(cpuSeconds.toFixed(2)), 'peak MiB': Math.round(peakMiB) },
  ]);
  console.table(Object.fromEntries(shown));
  const [first, ...others] = Object.entries(programs);
  for (const [name, other] of others) {
    if (first === undefined) return;
    const [ourName, ours] = first;
    const times = (a: number, b: number): string => (a / b).toFixed(2);
    console.log(
      `${ourName} against ${name}: ${times(other.seconds, ours.seconds)} x as fast, ${times(other.cpuSeconds, ours.cpuSeconds)} x by processor time, ${times(ours.peakMiB, other.peakMiB)} of its memory`,
    );
  }
}
