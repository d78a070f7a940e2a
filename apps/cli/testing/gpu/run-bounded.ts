import { spawn } from 'node:child_process';
import { once } from 'node:events';

/** A program failed; its last lines say why. */
export class ProgramFailure extends Error {
  readonly lastLines: string[];

  constructor(message: string, lastLines: string[]) {
    super(message);
    this.name = 'ProgramFailure';
    this.lastLines = lastLines;
  }
}

export type ProgramRun = {
  /** What the failure is called by. */
  what: string;
  command: string;
  args: readonly string[];
  env: Readonly<Record<string, string | undefined>>;
  /** Ends the program and all that it started. */
  signal: AbortSignal;
  limitMs: number;
  /** Called with the process's id and that of its group, once it runs. */
  onStart?: (pid: number) => void;
};

/**
 * Runs a program to its end and gives its exit code and what it wrote to standard output. When the signal is aborted, or the limit
 * is over, it is killed with its process group.
 */
export async function runBounded({ what, command, args, env, signal, limitMs, onStart }: ProgramRun) {
  const until = AbortSignal.any([signal, AbortSignal.timeout(limitMs)]);
  until.throwIfAborted();
  const child = spawn(command, args, { env: { ...env }, stdio: ['ignore', 'pipe', 'pipe'], detached: true });
  let out = '';
  let tail = '';
  child.stdout.on('data', (data: Buffer) => {
    out += data.toString();
  });
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (data: Buffer) => {
      tail = (tail + data.toString()).slice(-8000);
    });
  }
  const killAll = () => {
    if (child.pid === undefined) return;
    try {
      process.kill(-child.pid, 'SIGKILL');
    } catch (error) {
      if (!(error instanceof Error && 'code' in error && error.code === 'ESRCH')) throw error;
    }
  };
  until.addEventListener('abort', killAll, { once: true });
  try {
    if (child.pid !== undefined) onStart?.(child.pid);
    const [code, killedBy] = (await once(child, 'close')) as [number | null, string | null];
    const lastLines = tail.trimEnd().split('\n');
    if (until.aborted) throw new ProgramFailure(`${what} was not done within its time`, lastLines);
    return { code, killedBy, out, lastLines };
  } finally {
    until.removeEventListener('abort', killAll);
  }
}

/** {@link runBounded} for a program that has to end well; its standard output. */
export async function runWell(run: ProgramRun): Promise<string> {
  const { code, killedBy, out, lastLines } = await runBounded(run);
  if (code === 0) return out;
  throw new ProgramFailure(`${run.what} ended with ${killedBy ?? `exit code ${code}`}: ${lastLines.at(-1) ?? ''}`, lastLines);
}
