import { join } from 'node:path';
import type { InternalClient } from '@cairn/client';
import {
  CairnError,
  isCairnError,
  type LogStream,
  logStream,
  type ReportItem,
  type ReportReply,
  reportItem,
  type TrainerEvent,
} from '@cairn/contract';
import type { Logger } from '@cairn/runtime';
import { createLogPace, type LogBuffer, logBuffer, metricBuffer } from './buffers.ts';
import { reportQueue } from './report-queue.ts';

type ProgressItem = Extract<ReportItem, { type: 'progress' }>;
/** Items that are sent soon and never left out. */
type VitalItem = Extract<ReportItem, { type: 'checkpoint' | 'resumed' | 'evaluation' | 'badImage' | 'note' }>;

export type ReporterOptions = {
  client: Pick<InternalClient, 'report'>;
  workDir: string;
  heartbeatSeconds: number;
  /** The signal that ends the client's calls. */
  signal: AbortSignal;
  /** Called for every answer: it may ask the attempt to stop. */
  onReply: (reply: ReportReply) => void;
  /** The attempt is over for the control plane, or another process runs it: nothing more is sent. */
  onRefused: (error: CairnError) => void;
  /** Called for problems that do not end anything. */
  onTrouble: (message: string) => void;
  /** Limits of what waits to be sent. */
  memoryBytes?: number;
  diskBytes?: number;
};

export type Reporter = {
  log(stream: LogStream, data: Buffer | string): void;
  /** One point of a curve, at `step`; `time` in seconds since the epoch. */
  metric(name: string, step: number, value: number, time?: number): void;
  /** The progress of the work; only the newest is sent. */
  progress(progress: Omit<ProgressItem, 'type'>): void;
  report(item: VitalItem): void;
  /** Sends a report now, to get the answer. */
  poke(): void;
  /** Resolves when everything reported so far has been answered, or nothing is sent any more. */
  flush(): Promise<void>;
  /** Resolves when everything reported so far has been answered and nothing is sent any more; rejects when that was refused. */
  end(): Promise<void>;
  /** Stops sending at once; pending items are dropped. */
  close(): void;
};

const vitalDelayMs = 250;
const usualDelayMs = 1000;
/** A report must fit into a request body of 1 MiB. */
const maxReportBytes = 512 * 1024;
const maxReportItems = 500;
const sealAtBytes = 256 * 1024;

/**
 * Reports to the control plane what the attempt does: in order, one report at a time, at least one every heartbeat. While
 * the control plane is away, items wait (in memory, then on disk, bounded), and the caller never waits for it.
 */
export function createReporter(options: ReporterOptions): Reporter {
  const { memoryBytes, diskBytes } = options;
  const queue = reportQueue({
    journalFile: join(options.workDir, 'reports.ndjson'),
    ...(memoryBytes === undefined ? {} : { memoryBytes }),
    ...(diskBytes === undefined ? {} : { diskBytes }),
  });
  const logs = new Map<LogStream, LogBuffer>(logStream.options.map((stream) => [stream, logBuffer(stream)]));
  const paces = new Map(logStream.options.map((stream) => [stream, createLogPace()]));
  const metrics = metricBuffer();
  const timer = wakeTimer(options.heartbeatSeconds * 800);
  let progress: ProgressItem | null = null;
  let leftOut = 0;
  let seq = 0;
  const flushes: (() => void)[] = [];
  let state: 'open' | 'ending' | 'closed' = 'open';

  /** False when there is no room. An item that no control plane would accept is reported and dropped: it counts as accepted. */
  function enqueue(item: ReportItem, isVital: boolean): boolean {
    const { data, error } = reportItem.safeParse(item);
    if (data !== undefined) return queue.push(data, { isVital });
    options.onTrouble(`A report item of type ${item.type} does not match its schema and is left out: ${error.issues[0]?.message}`);
    return true;
  }
  const push = (item: ReportItem) => enqueue(item, false);

  /** Moves what was collected into the queue. What does not fit is cut (logs) or thinned out (metrics). */
  function seal(): void {
    for (const [stream, log] of logs) {
      // The last lines of a program that has slowed down after a flood are held back.
      for (const piece of paces.get(stream)?.take(Buffer.alloc(0)) ?? []) log.append(piece);
      if (!log.drain(push)) log.cut();
    }
    metrics.drain(push);
  }

  /** The items of the next report. */
  function compose(): ReportItem[] {
    seal();
    if (leftOut > 0 && enqueue(leftOutNote(leftOut), true)) leftOut = 0;
    const items = queue.take(maxReportItems - 1, maxReportBytes);
    if (progress !== null) items.push(progress);
    progress = null;
    return items;
  }

  /** Sends the items as one report; those that the control plane does not understand are separated from the others and dropped. */
  async function send(items: ReportItem[]): Promise<void> {
    try {
      options.onReply(await options.client.report({ seq: seq + 1, at: new Date().toISOString(), items }));
      seq += 1;
    } catch (error) {
      if (!isCairnError(error, 'invalid_request', 'payload_too_large') || items.length === 0) throw error;
      if (items.length === 1) {
        options.onTrouble(`The control plane refused a report item of type ${items[0]?.type}: ${error.message}`);
        return;
      }
      const half = Math.ceil(items.length / 2);
      await send(items.slice(0, half));
      await send(items.slice(half));
    }
  }

  async function run(): Promise<void> {
    while (state === 'open') {
      await timer.wait();
      const waiting = flushes.splice(0);
      if (state === 'open') await send(compose());
      if (queue.isEmpty()) for (const resolve of waiting) resolve();
      else flushes.unshift(...waiting);
      timer.set(queue.isEmpty() && flushes.length === 0 ? options.heartbeatSeconds * 800 : 0);
    }
    for (const [stream, log] of logs) {
      for (const piece of paces.get(stream)?.end() ?? []) log.append(piece);
      log.end();
    }
    for (let items = compose(); items.length > 0 && !isClosed(); items = compose()) await send(items);
  }

  const isClosed = () => state === 'closed';

  const running = run().finally(() => {
    state = 'closed';
    timer.stop();
    queue.close();
    for (const resolve of flushes.splice(0)) resolve();
  });
  running.catch((error: unknown) => {
    // An abort of the client is its owner's decision; any other error that is not an answer is a bug, and must not be silent.
    if (isCairnError(error)) options.onRefused(error);
    else if (!options.signal.aborted) options.onRefused(new CairnError('internal', `Reports cannot be sent: ${error}`, { cause: error }));
  });

  return {
    log(stream, data) {
      const log = logs.get(stream);
      if (log === undefined || isClosed()) return;
      for (const piece of paces.get(stream)?.take(Buffer.from(data)) ?? []) log.append(piece);
      if (log.pendingBytes() >= sealAtBytes && !log.drain(push)) log.cut();
      timer.sooner(usualDelayMs);
    },
    metric(name, step, value, time = Date.now() / 1000) {
      if (isClosed()) return;
      if (metrics.add(name, step, value, time)) metrics.drain(push);
      timer.sooner(usualDelayMs);
    },
    progress(item) {
      const { data, error } = reportItem.safeParse({ type: 'progress', ...item });
      if (data?.type === 'progress') progress = data;
      else options.onTrouble(`A progress item does not match its schema and is left out: ${error?.issues[0]?.message}`);
      timer.sooner(usualDelayMs);
    },
    report(item) {
      if (isClosed()) return;
      // The points before a checkpoint are sent before it.
      metrics.drain(push);
      if (!enqueue(item, true)) leftOut += 1;
      timer.sooner(vitalDelayMs);
    },
    poke: () => timer.sooner(0),
    flush() {
      if (state !== 'open') return Promise.resolve();
      const { promise, resolve } = Promise.withResolvers<void>();
      flushes.push(resolve);
      timer.sooner(0);
      return promise;
    },
    async end() {
      if (state === 'open') state = 'ending';
      timer.sooner(0);
      await running;
    },
    close() {
      state = 'closed';
      timer.stop();
    },
  };
}

function leftOutNote(count: number): VitalItem {
  return { type: 'note', level: 'warning', message: `${count} notes were left out: the control plane was away and the buffer was full` };
}

/** A timer that can be brought forward: `wait` resolves when it is due, at first in `ms` milliseconds. */
function wakeTimer(ms: number) {
  let due = Date.now() + ms;
  let timer: NodeJS.Timeout | undefined;
  let wake: (() => void) | null = null;

  function arm(): void {
    clearTimeout(timer);
    if (wake !== null) timer = setTimeout(wake, Math.max(0, due - Date.now()));
  }

  return {
    /** Due in `ms`, replacing an earlier setting. */
    set(ms: number): void {
      due = Date.now() + ms;
      arm();
    },
    /** Due in `ms` at the latest. */
    sooner(ms: number): void {
      const wanted = Date.now() + ms;
      if (wanted >= due) return;
      due = wanted;
      arm();
    },
    async wait(): Promise<void> {
      await new Promise<void>((resolve) => {
        wake = resolve;
        arm();
      });
      wake = null;
      clearTimeout(timer);
    },
    /** Due now; does not keep the process alive. */
    stop(): void {
      due = 0;
      clearTimeout(timer);
      wake?.();
    },
  };
}

/** Reports an image that the trainer could not read. The run's history keeps the first ones; the log has them all. */
export function reportBadImage(
  { log, reporter }: { log: Logger; reporter: Reporter },
  { imageId, path, reason }: Extract<TrainerEvent, { event: 'badImage' }>,
): void {
  log.warn({ imageId, path, reason }, 'an image cannot be read and is left out');
  reporter.report({ type: 'badImage', imageId, path, reason });
}
