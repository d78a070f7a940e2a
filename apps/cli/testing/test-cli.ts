import { EventEmitter } from 'node:events';
import { Readable } from 'node:stream';
import type { Cli } from '../cli.ts';
import type { TextOutput } from '../output/ui.ts';
import { runCli } from '../program.ts';

/** An output that keeps what was written; a terminal if a size is given. */
export function memoryOutput(size?: {
  columns: number;
  rows: number;
}): TextOutput & { text: () => string; resize: (columns: number) => void } {
  const parts: string[] = [];
  const events = new EventEmitter();
  const output = {
    isTTY: size !== undefined,
    columns: size?.columns,
    rows: size?.rows,
    write: (text: string) => parts.push(text),
    on: (name: 'resize', listener: () => void) => events.on(name, listener),
    off: (name: 'resize', listener: () => void) => events.off(name, listener),
    text: () => parts.join(''),
    resize: (columns: number) => {
      output.columns = columns;
      events.emit('resize');
    },
  };
  return output;
}

export type TestRun = { code: number; out: string; err: string };

export type TestCliOptions = {
  /** CAIRN_URL. */
  url?: string;
  env?: Record<string, string>;
  stdin?: string;
  now?: Date;
  signal?: AbortSignal;
};

/** Runs `cairn` in this process with its output kept, as in a pipe, only in the given environment. */
export async function runTestCli(args: readonly string[], options: TestCliOptions = {}): Promise<TestRun> {
  const stdout = memoryOutput();
  const stderr = memoryOutput();
  const cli: Cli = {
    env: { HOME: '/nonexistent', ...(options.url === undefined ? {} : { CAIRN_URL: options.url, CAIRN_TOKEN: 'secret' }), ...options.env },
    stdin: Readable.from([options.stdin ?? '']),
    stdout,
    stderr,
    signal: options.signal ?? new AbortController().signal,
    now: () => options.now ?? new Date('2026-01-02T03:10:00.000Z'),
  };
  const code = await runCli(args, cli);
  return { code, out: stdout.text(), err: stderr.text() };
}
