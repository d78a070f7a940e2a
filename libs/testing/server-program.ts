import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createWriteStream } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { endWithParent, sleep } from '@cairn/runtime';

export type ServerProgramOptions = {
  /** Its name in messages. */
  name: string;
  program: string;
  args: readonly string[];
  /** Working folder and environment; this process's own by default. */
  place?: Pick<SpawnOptions, 'cwd' | 'env'>;
  /** Gets the server's output; a failed start prints its end. */
  logFile: string;
  /** Rejects while the server is not ready. */
  probe(): Promise<void>;
  startLimitMs: number;
};

export type ServerProgram = {
  pid(): number;
  /** Starts it and waits until it is ready; throws with the end of its log when it exits or takes too long. */
  start(): Promise<void>;
  end(signal: 'SIGTERM' | 'SIGKILL'): Promise<void>;
};

/** A test server as a separate program, which can be stopped and started again; it does not outlive this process. */
export function serverProgram({ name, program, args, place, logFile, probe, startLimitMs }: ServerProgramOptions): ServerProgram {
  let child: ChildProcess | undefined;
  let watcher: { cancel(): void } | undefined;
  const hasEnded = () => child === undefined || child.exitCode !== null || child.signalCode !== null;

  async function untilReady(): Promise<void> {
    const end = Date.now() + startLimitMs;
    for (;;) {
      const failure = await probe().then(
        () => null,
        (error: unknown) => ({ error }),
      );
      if (failure === null) return;
      if (hasEnded() || Date.now() > end) {
        const log = await readFile(logFile, 'utf8').catch(() => '');
        const what = hasEnded() ? 'exited' : 'was not ready in time';
        child?.kill('SIGKILL');
        throw new Error(`${name} ${what}:\n${log.slice(-4000)}`, { cause: failure.error });
      }
      await sleep(10);
    }
  }

  return {
    pid: () => child?.pid ?? 0,
    async start() {
      child = spawn(program, [...args], { stdio: ['ignore', 'pipe', 'pipe'], detached: true, ...place });
      const output = createWriteStream(logFile, { flags: 'a' });
      child.stdout?.pipe(output, { end: false });
      child.stderr?.pipe(output, { end: false });
      child.once('close', () => output.end());
      if (child.pid === undefined) throw new Error(`${program} cannot be started`);
      watcher = endWithParent(child.pid, 'KILL');
      await untilReady();
    },
    async end(signal) {
      if (child === undefined || hasEnded()) return;
      const gone = once(child, 'exit');
      child.kill(signal);
      await gone;
      watcher?.cancel();
    },
  };
}
