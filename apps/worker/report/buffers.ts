import { StringDecoder } from 'node:string_decoder';
import { type LogStream, logChunkBytes, type ReportItem } from '@cairn/contract';

export type LogItem = Extract<ReportItem, { type: 'log' }>;

/**
 * Collects the bytes of one stream and returns them as chunks of at most {@link logChunkBytes}, cut between characters.
 * Offsets count the bytes of the text that is sent, without gaps: invalid UTF-8 (and the NUL that PostgreSQL cannot
 * store) is replaced first, so that the reader's count of bytes is the same.
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
    /** An incomplete character will not be completed any more. */
    end: () => keep(decoder.end()),
    pendingBytes: () => pending,
    /** Passes everything pending to `push`, chunk by chunk; stops and returns false when it refuses one. */
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
    /** Drops everything pending from the stream; a line in its place will say so. */
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

/** The largest length up to `limit` that does not cut a character: bytes 10xxxxxx continue an earlier one. */
function wholeCharacters(bytes: Buffer, limit: number): number {
  if (bytes.length <= limit) return bytes.length;
  let end = limit;
  while (end > 0 && ((bytes[end] ?? 0) & 0xc0) === 0x80) end -= 1;
  return end;
}

/** Bytes per second accepted of one attempt's log, on average, and how many at once after a quiet time. */
const bytesPerSecond = 1024 * 1024;
const burstBytes = 16 * 1024 * 1024;
/** This much of the end of what is left out is held back: it may be the program's last output. */
const tailBytes = 64 * 1024;

/**
 * Passes a stream of output at a pace that the control plane can keep up with. A program that writes faster for long loses the middle
 * of its output, never its end; a line says how much.
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

  /** The output held back, after a line about the missing part. */
  function flush(): Buffer[] {
    const note =
      leftOut === 0 ? [] : [Buffer.from(`\n[${leftOut} bytes were left out here: the program wrote faster than 1 MiB per second]\n`)];
    const pieces = [...note, ...tail];
    tail = [];
    held = 0;
    leftOut = 0;
    return pieces;
  }

  return {
    /** The pieces of the log that may pass now, in order. */
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
    /** The last pieces: the program writes nothing more. */
    end: flush,
  };
}

type MetricsItem = Extract<ReportItem, { type: 'metrics' }>;

/** The maximum number of points of one series in an item. */
export const maxPoints = 1000;

/** Collects the points of all series until they are taken, each series as one item. */
export function metricBuffer() {
  const series = new Map<string, MetricsItem>();

  return {
    /** `time` in seconds since the epoch. True when the series is full and should be taken. A value that is not a number is left out. */
    add(name: string, step: number, value: number, time: number): boolean {
      if (!Number.isFinite(value)) return false;
      let item = series.get(name);
      if (item === undefined) {
        item = { type: 'metrics', name, steps: [], values: [], times: [] };
        series.set(name, item);
      }
      item.steps.push(step);
      item.values.push(value);
      item.times.push(time);
      return item.steps.length >= maxPoints;
    },
    /** Passes every pending series to `push`; those that it refuses are thinned out and kept. */
    drain(push: (item: MetricsItem) => boolean): void {
      for (const item of [...series.values()]) {
        if (push(item)) series.delete(item.name);
        else if (item.steps.length >= maxPoints) thin(item);
      }
    },
  };

  /** Keeps every second point, including the newest: a curve with fewer points is still the curve. */
  function thin(item: MetricsItem): void {
    const last = item.steps.length - 1;
    const isKept = (_: number, index: number) => (last - index) % 2 === 0;
    series.set(item.name, {
      ...item,
      steps: item.steps.filter(isKept),
      values: item.values.filter(isKept),
      times: item.times.filter(isKept),
    });
  }
}
