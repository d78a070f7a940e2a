import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import type { AttemptSpec } from '@cairn/contract';
import { sleep } from '@cairn/runtime';
import type { z } from 'zod';
import type { AttemptContext } from '../agent/attempt-context.ts';
import { keepTail } from '../program/run-program.ts';
import { type ChildJob, type ChildProgress, childReply, fromChildError } from './messages.ts';

const mainFile = join(import.meta.dirname, '../main.ts');
const goneLimitMs = 5000;

/** The child ended while it was needed: a crash of native code, a kill, a lack of memory. */
export class ChildEndedError extends Error {
  /** `was killed by SIGSEGV`, `ended with exit code 1`. */
  readonly how: string;
  /** It had not done any work yet. */
  isOpening = false;

  constructor(how: string, lastOutput: string) {
    super(`the compute process ${how}${lastOutput === '' ? '' : `; its last output: ${lastOutput}`}`);
    this.name = 'ChildEndedError';
    this.how = how;
  }

  whileOpening(): this {
    this.isOpening = true;
    return this;
  }
}

/** Of an attempt. */
export type ChildContext = Pick<AttemptContext, 'env' | 'reporter'> & { spec: Pick<AttemptSpec, 'hangSeconds'> };

export type Child = {
  /**
   * Has the child do one job; the next may be requested when this one is answered. Rejects with the child's CairnError, or
   * with {@link ChildEndedError}.
   */
  ask<T>(job: ChildJob, answer: z.ZodType<T>, onProgress?: (progress: ChildProgress) => void): Promise<T>;
  /** Kills the child, whatever it is doing, and waits until it is gone. */
  kill(): Promise<void>;
};

/**
 * Starts a process of this program for work that blocks the event loop; its output goes to the attempt's log. A child that
 * neither answers nor reports progress for the spec's `hangSeconds` is killed.
 */
export function startChild({ env, reporter, spec }: ChildContext, extraEnv: Record<string, string> = {}): Child {
  const child = fork(mainFile, ['child'], { env: { ...env, ...extraEnv }, stdio: ['ignore', 'pipe', 'pipe', 'ipc'] });
  const lastOutput = keepTail(2000);
  child.stdout?.on('data', (data: Buffer) => reporter.log('stdout', data));
  child.stderr?.on('data', (data: Buffer) => {
    reporter.log('stderr', data);
    lastOutput.add(data);
  });
  const ended = endOf(child).then((how) => new ChildEndedError(how, lastOutput.text()));
  let id = 0;

  return {
    async ask(job, answer, onProgress) {
      id += 1;
      const mine = id;
      const { promise, resolve, reject } = Promise.withResolvers<unknown>();
      const idle = setTimeout(() => {
        reject(new ChildEndedError(`made no progress for ${spec.hangSeconds} s and was killed`, lastOutput.text()));
        child.kill('SIGKILL');
      }, spec.hangSeconds * 1000);
      const onMessage = (message: unknown) => {
        const reply = childReply.parse(message);
        idle.refresh();
        if (reply.type === 'ready' || reply.id !== mine) return;
        if (reply.type === 'progress') onProgress?.(reply.progress);
        else if (reply.type === 'done') resolve(reply.answer);
        else reject(fromChildError(reply.error));
      };
      child.on('message', onMessage);
      void ended.then(reject);
      try {
        // A send to a child that is gone fails; the reason for its end is more useful.
        child.send({ id: mine, job }, () => undefined);
        return answer.parse(await promise);
      } finally {
        clearTimeout(idle);
        child.off('message', onMessage);
      }
    },
    async kill() {
      child.kill('SIGKILL');
      await Promise.race([ended, sleep(goneLimitMs)]);
    },
  };
}

async function endOf(child: ChildProcess): Promise<string> {
  try {
    const [code, signal] = await once(child, 'exit');
    return signal === null ? `ended with exit code ${code}` : `was killed by ${signal}`;
  } catch (error) {
    return `could not be started: ${error instanceof Error ? error.message : String(error)}`;
  }
}
