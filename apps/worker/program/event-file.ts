import { closeSync, openSync, readSync } from 'node:fs';
import { type TrainerEvent, trainerEvent } from '@cairn/contract';

export type EventFileOptions = {
  /** May not exist yet. */
  path: string;
  onEvent: (event: TrainerEvent) => void;
  /** A line that is no event of this protocol: told, and passed over. */
  onStrange: (line: string, why: string) => void;
};

/** Follows a file to which a program appends one event of JSON a line; each `read` hands on the whole lines that are new. */
export function eventFile({ path, onEvent, onStrange }: EventFileOptions) {
  let file: number | undefined;
  let rest = Buffer.alloc(0);

  function handle(line: string): void {
    if (line.trim() === '') return;
    let value: unknown;
    try {
      value = JSON.parse(line);
    } catch (error) {
      onStrange(line, error instanceof Error ? error.message : String(error));
      return;
    }
    const parsed = trainerEvent.safeParse(value);
    if (parsed.success) onEvent(parsed.data);
    else onStrange(line, parsed.error.issues[0]?.message ?? 'it does not fit');
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
