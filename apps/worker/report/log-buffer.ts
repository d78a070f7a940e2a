import { StringDecoder } from 'node:string_decoder';
import { type LogStream, logChunkBytes, type ReportItem } from '@cairn/contract';

export type LogItem = Extract<ReportItem, { type: 'log' }>;

/**
 * Collects the bytes of one stream and gives them as chunks of at most {@link logChunkBytes}, cut between characters.
 * Offsets count the bytes of the text that is sent, without gaps: what is no UTF-8 (or the NUL that PostgreSQL cannot
 * keep) is replaced first, so that the reader's count of bytes is the same.
 */
export function logBuffer(stream: LogStream) {
  const decoder = new StringDecoder('utf8');
  let pieces: Buffer[] = [];
  let pending = 0;
  let offset = 0;
  let lost = 0;

  function keep(text: string): void {
    if (text === '') return;
    const bytes = Buffer.from(text.replaceAll('\0', '\u2400'));
    pieces.push(bytes);
    pending += bytes.length;
  }

  return {
    append(data: Buffer | string): void {
      keep(typeof data === 'string' ? data : decoder.write(data));
    },
    /** What was an unfinished character is none any more. */
    end: () => keep(decoder.end()),
    pendingBytes: () => pending,
    /** Gives everything that is pending to `push`, chunk by chunk; stops, and answers false, when it refuses one. */
    drain(push: (item: LogItem) => boolean): boolean {
      while (pending > 0) {
        const all = Buffer.concat(pieces);
        const note = lost === 0 ? '' : `\n[${lost} bytes were left out here: the control plane was away and the buffer was full]\n`;
        const end = wholeCharacters(all, logChunkBytes - note.length);
        if (!push({ type: 'log', stream, offset, text: note + all.toString('utf8', 0, end) })) return false;
        offset += note.length + end;
        lost = 0;
        drop(all, end);
      }
      return true;
    },
    /** Cuts all that is pending out of the stream; a line in its place will say so. */
    cut(): void {
      lost += pending;
      drop(Buffer.alloc(0), 0);
    },
  };

  function drop(all: Buffer, bytes: number): void {
    const rest = all.subarray(bytes);
    pieces = rest.length === 0 ? [] : [rest];
    pending = rest.length;
  }
}
export type LogBuffer = ReturnType<typeof logBuffer>;

/** The largest length up to `limit` at which no character is cut: bytes 10xxxxxx go on one that began before. */
export function wholeCharacters(bytes: Buffer, limit: number): number {
  if (bytes.length <= limit) return bytes.length;
  let end = limit;
  while (end > 0 && ((bytes[end] ?? 0) & 0xc0) === 0x80) end -= 1;
  return end;
}

/** Bytes a second that are taken of one attempt's log, on average, and how many at once after a quiet time. */
const bytesPerSecond = 1024 * 1024;
const burstBytes = 16 * 1024 * 1024;
/** Of what is left out, so much of its end is kept back: it may be the last that the program says. */
const tailBytes = 64 * 1024;

/**
 * Lets a stream of output through at a pace that the control plane can keep up with. A program that writes faster for long loses the middle
 * of what it writes, never its end; a line says how much.
 */
export function createLogPace({ now = () => performance.now() }: { now?: () => number } = {}) {
  let allowance = burstBytes;
  let at = now();
  let tail: Buffer[] = [];
  let held = 0;
  let leftOut = 0;

  function holdBack(data: Buffer): void {
    tail.push(data);
    held += data.length;
    for (let first = tail[0]; first !== undefined && held - first.length >= tailBytes; first = tail[0]) {
      tail.shift();
      held -= first.length;
      leftOut += first.length;
    }
  }

  /** What is held back, after a line for what is not there. */
  function flush(): Buffer[] {
    const note =
      leftOut === 0 ? [] : [Buffer.from(`\n[${leftOut} bytes were left out here: the program wrote faster than 1 MiB a second]\n`)];
    const pieces = [...note, ...tail];
    tail = [];
    held = 0;
    leftOut = 0;
    return pieces;
  }

  return {
    /** The pieces of the log that may go on now, in their order. */
    take(data: Buffer): Buffer[] {
      allowance = Math.min(burstBytes, allowance + ((now() - at) / 1000) * bytesPerSecond);
      at = now();
      if (data.length + held > allowance) {
        holdBack(data);
        return [];
      }
      allowance -= data.length + held;
      return [...flush(), data];
    },
    /** The last pieces: the program says no more. */
    end: flush,
  };
}
