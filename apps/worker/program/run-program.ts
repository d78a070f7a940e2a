import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync, readSync, writeFileSync } from 'node:fs';
import { StringDecoder } from 'node:string_decoder';
import { CairnError, firstOf, lastOf, type TrainerEvent, trainerEvent } from '@cairn/contract';
import {
  isAlive,
  isolatedPython,
  killAttemptProcesses,
  processesByAttempt,
  signalProcess,
  sleep,
  sparedByAgent,
  withoutPythonVariables,
} from '@cairn/runtime';
import type { AttemptContext } from '../agent/attempt-context.ts';

export type ProgramOptions = {
  /** The module of docker/trainer, and its arguments. */
  module: string;
  args: readonly string[];
  cwd: string;
  /** The program appends its events to this file. */
  eventsPath: string;
  /** The file that asks the program to stop; null for one that has nothing to save and is killed instead. */
  stopPath: string | null;
  onEvent: (event: TrainerEvent) => void;
};

export type ProgramEnd = {
  /** `hung`: no event and no output for the spec's `hangSeconds`; `stopped`: killed on request, after the grace period if there was one. */
  how: 'exited' | 'hung' | 'stopped';
  /** One clause about the end of the process, for people. */
  end: string;
  /** The last lines of its standard error. */
  lastOutput: string;
};

const pollMs = 100;
/** At most this much of the grace period is kept for storing what the program saved. */
const reserveMs = 5000;
const dumpMs = 2000;
const goneLimitMs = 5000;

/**
 * Runs a Python program of docker/trainer until it ends or is ended: passes on its events, and sends its output to the log.
 * A requested stop is passed on by the stop file, and enforced at the end of the grace period. A program without
 * progress is ended after the stacks of all its threads were dumped into the log. No process of it is left afterwards.
 */
export async function runProgram(context: AttemptContext, options: ProgramOptions): Promise<ProgramEnd> {
  const { spec, stop, log, python } = context;
  stop.ended.throwIfAborted();
  const child = spawn(python, isolatedPython(options.module, options.args), {
    cwd: options.cwd,
    env: withoutPythonVariables(context.env),
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const life = lifeOf(child, python);
  let progressAt = Date.now();
  const events = eventFile({
    path: options.eventsPath,
    onEvent(event) {
      progressAt = Date.now();
      options.onEvent(event);
    },
    onInvalidLine: (line, why) => log.warn({ line: firstOf(line, 500), why }, 'the program wrote a line that is not an event'),
  });
  const lastOutput = keepTail(4000);
  for (const stream of ['stdout', 'stderr'] as const) {
    child[stream]?.on('data', (data: Buffer) => {
      progressAt = Date.now();
      context.reporter.log(stream, data);
      if (stream === 'stderr') lastOutput.add(data);
    });
  }
  let how: ProgramEnd['how'] = 'exited';
  let killAtMs: number | null = null;
  try {
    while (!life.isOver() && !stop.ended.aborted) {
      events.read();
      if (stop.asked.aborted) {
        if (killAtMs === null && options.stopPath !== null) writeFileSync(options.stopPath, '');
        killAtMs ??= options.stopPath === null ? Number.POSITIVE_INFINITY : Math.min(reserveMs, stop.remainingMs() / 5);
        if (stop.remainingMs() <= killAtMs) {
          how = 'stopped';
          break;
        }
      } else if (Date.now() - progressAt > spec.hangSeconds * 1000) {
        how = 'hung';
        log.error(`no event and no output for ${spec.hangSeconds} s: the program hangs; see its stacks in stderr`);
        await dumpStacks(spec.attempt.id, child.pid);
        break;
      }
      await Promise.race([life.over, sleep(pollMs)]);
    }
    await killAttemptProcesses([spec.attempt.id], { except: sparedByAgent, limitMs: goneLimitMs });
    const end = await life.closed(goneLimitMs);
    stop.ended.throwIfAborted();
    events.read();
    return { how, end, lastOutput: lastOutput.text() };
  } finally {
    events.close();
  }
}

/** Follows a child to its end. A failure to start is `invalid_configuration`. */
function lifeOf(child: ChildProcess, python: string) {
  let isOver = false;
  let end = 'did not end';
  const exited = once(child, 'exit').then(
    ([code, signal]) => {
      end = signal === null ? `ended with exit code ${code}` : `was killed by ${signal}`;
    },
    (cause: unknown) => {
      const why = cause instanceof Error ? cause.message : String(cause);
      throw new CairnError('invalid_configuration', `The interpreter ${python} cannot be started (${why}): set CAIRN_PYTHON`, { cause });
    },
  );
  const over = exited.finally(() => {
    isOver = true;
  });
  over.catch(() => undefined);
  const outputRead = once(child, 'close').catch(() => undefined);
  return {
    over,
    isOver: () => isOver,
    /** How it ended, once all its output has been read too. A process that survives SIGKILL is not waited for. */
    async closed(limitMs: number): Promise<string> {
      await Promise.race([Promise.all([over, outputRead]), sleep(limitMs)]);
      return end;
    },
  };
}

/**
 * Makes every thread of every process of the program write its stack to standard error: Python's faulthandler does that on
 * SIGABRT, even where a thread hangs inside a library. The launcher is spared: otherwise its ranks would die before they can write.
 */
async function dumpStacks(attemptId: string, launcherPid: number | undefined): Promise<void> {
  const all = (processesByAttempt().get(attemptId) ?? []).filter(({ pid }) => !sparedByAgent.includes(pid));
  const ranks = all.filter(({ pid }) => pid !== launcherPid);
  const dumped = ranks.length > 0 ? ranks : all;
  for (const identity of dumped) signalProcess(identity, 'SIGABRT');
  const end = Date.now() + dumpMs;
  while (dumped.some(isAlive) && Date.now() < end) await sleep(20);
}

/** The last `most` characters of a process's output; no character is split, neither at the start nor between two pieces. */
export function keepTail(most: number) {
  const decoder = new StringDecoder('utf8');
  let kept = '';
  return {
    add(data: Buffer): void {
      kept = lastOf(kept + decoder.write(data), most);
    },
    /** Trimmed. */
    text: () => kept.trim(),
  };
}

type EventFileOptions = {
  /** May not exist yet. */
  path: string;
  onEvent: (event: TrainerEvent) => void;
  /** Called for a line that is not an event of this protocol, which is skipped. */
  onInvalidLine: (line: string, why: string) => void;
};

/** Follows a file to which a program appends one JSON event per line; each `read` passes on the new complete lines. */
export function eventFile({ path, onEvent, onInvalidLine }: EventFileOptions) {
  let file: number | undefined;
  let rest = Buffer.alloc(0);

  function handle(line: string): void {
    if (line.trim() === '') return;
    let value: unknown;
    try {
      value = JSON.parse(line);
    } catch (error) {
      onInvalidLine(line, error instanceof Error ? error.message : String(error));
      return;
    }
    const parsed = trainerEvent.safeParse(value);
    if (parsed.success) onEvent(parsed.data);
    else onInvalidLine(line, parsed.error.issues[0]?.message ?? 'it does not match the schema');
  }

  return {
    read(): void {
      file ??= openOrUndefined(path);
      if (file === undefined) return;
      const buffer = Buffer.alloc(64 * 1024);
      for (let bytes = readSync(file, buffer); bytes > 0; bytes = readSync(file, buffer)) {
        rest = Buffer.concat([rest, buffer.subarray(0, bytes)]);
        const end = rest.lastIndexOf('\n') + 1;
        const lines = rest.toString('utf8', 0, end).split('\n');
        rest = rest.subarray(end);
        for (const line of lines) handle(line);
      }
    },
    close(): void {
      if (file !== undefined) closeSync(file);
      file = undefined;
    },
  };
}

function openOrUndefined(path: string): number | undefined {
  try {
    return openSync(path, 'r');
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
    throw error;
  }
}
