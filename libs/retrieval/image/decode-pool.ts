import { Worker } from 'node:worker_threads';
import { CairnError, type Preprocessing, preprocessing } from '@cairn/contract';
import { z } from 'zod';
import { UnreadableImage } from './unreadable-image.ts';

export type DecodePoolOptions = {
  /** Images decoded at once; each thread uses one core. */
  threads: number;
  /** Side of the network's input in pixels. */
  imageSize: number;
  preprocessing: Preprocessing;
  /** Maximum time for decoding one image; after it the image counts as unreadable. */
  timeoutMs?: number;
};

export type DecodePool = {
  readonly threads: number;
  readonly imageSize: number;
  readonly timeoutMs: number;
  /**
   * Writes the image as `preprocessImage` returns it into `pixels`: imageSize x imageSize x 3 bytes of a SharedArrayBuffer. Rejects with
   * {@link UnreadableImage} if the image is at fault, with a CairnError if the machine is or a thread ended.
   */
  preprocess(bytes: Uint8Array, pixels: Uint8Array): Promise<void>;
  /** Ends the threads; pending images reject. */
  close(): Promise<void>;
};

/** What a thread is started with. */
export const decodeThreadSettings = z.object({ imageSize: z.number().int(), preprocessing, timeoutMs: z.number() });

/** z.instanceof would exclude shared memory from the type. */
const bytesOf = z.custom<Uint8Array>((value) => value instanceof Uint8Array);

/** A file for a thread, which takes them in the order in which they come. */
export const decodeRequest = z.object({ id: z.number().int(), bytes: bytesOf, pixels: bytesOf });

const decodeReply = z.discriminatedUnion('outcome', [
  z.object({ outcome: z.literal('decoded'), id: z.number().int() }),
  z.object({ outcome: z.literal('unreadable'), id: z.number().int(), reason: z.string(), isSlow: z.boolean() }),
  z.object({ outcome: z.literal('failed'), id: z.number().int(), code: z.enum(['program_failed', 'internal']), message: z.string() }),
]);
export type DecodeReply = z.infer<typeof decodeReply>;

type Pending = { resolve(): void; reject(error: Error): void };
type Thread = { worker: Worker; pending: Map<number, Pending> };

/**
 * Threads that decode and resize images while ONNX Runtime blocks the event loop of this one (microsoft/onnxruntime#19611). Each has a
 * queue of its own, which is filled in advance: a pool that hands out the next image when one is done, as piscina does, would wait for the
 * blocked loop.
 */
export function createDecodePool({ threads: count, timeoutMs = 60_000, ...settings }: DecodePoolOptions): DecodePool {
  const threads: Thread[] = Array.from({ length: count }, () => startThread({ ...settings, timeoutMs }));
  let nextId = 0;
  let failure: Error | null = null;

  function startThread(workerData: z.input<typeof decodeThreadSettings>): Thread {
    const worker = new Worker(new URL('./decode-thread.ts', import.meta.url), { workerData });
    const pending = new Map<number, Pending>();
    worker.on('message', (message) => {
      settle(pending, decodeReply.parse(message));
      if (pending.size === 0) worker.unref();
    });
    worker.on('error', (cause) => fail(new CairnError('program_failed', `A decoder thread ended: ${cause.message}`, { cause })));
    worker.on('exit', (code) => fail(new CairnError('program_failed', `A decoder thread ended with exit code ${code}`)));
    // It only keeps the process alive while an image is pending.
    worker.unref();
    return { worker, pending };
  }

  function fail(error: Error): void {
    failure ??= error;
    for (const { worker, pending } of threads) {
      for (const { reject } of pending.values()) reject(failure);
      pending.clear();
      worker.unref();
    }
  }

  return {
    threads: count,
    imageSize: settings.imageSize,
    timeoutMs,
    preprocess(bytes, pixels) {
      if (failure !== null) return Promise.reject(failure);
      const thread = threads.reduce((least, other) => (other.pending.size < least.pending.size ? other : least));
      const id = nextId++;
      const { promise, resolve, reject } = Promise.withResolvers<void>();
      thread.pending.set(id, { resolve, reject });
      thread.worker.ref();
      // A copy of its own: the file may be a part of a larger buffer, which would be transferred as a whole.
      const copy = new Uint8Array(bytes);
      thread.worker.postMessage({ id, bytes: copy, pixels } satisfies z.infer<typeof decodeRequest>, [copy.buffer]);
      return promise;
    },
    async close() {
      fail(new CairnError('internal', 'The decoder is closed'));
      await Promise.all(threads.map(({ worker }) => worker.terminate()));
    },
  };
}

function settle(pending: Map<number, Pending>, reply: DecodeReply): void {
  const waiting = pending.get(reply.id);
  pending.delete(reply.id);
  if (reply.outcome === 'decoded') waiting?.resolve();
  else if (reply.outcome === 'unreadable') waiting?.reject(new UnreadableImage(reply.reason, { isSlow: reply.isSlow }));
  else waiting?.reject(new CairnError(reply.code, reply.message));
}

type TimeLimit = {
  ms: number;
  signal: AbortSignal | undefined;
  /** The error when the time is up. */
  error: () => Error;
};

/**
 * The result of `work`, unless `signal` is aborted (its reason) or `ms` pass (`error()`) first. The work gets a signal that is then
 * aborted; if it ignores the signal it continues, and its result is ignored.
 *
 * ONNX Runtime blocks the event loop for as long as a batch takes. A timer that expires meanwhile fires before the results that arrived
 * meanwhile are processed, so the limit applies only after the loop has polled for results once more.
 */
export async function withinTime<T>(work: (signal: AbortSignal) => Promise<T>, { ms, signal, error }: TimeLimit): Promise<T> {
  signal?.throwIfAborted();
  const controller = new AbortController();
  let timer: NodeJS.Timeout | undefined;
  let stop = () => {};
  const limit = new Promise<never>((_, reject) => {
    stop = () => reject(signal?.reason);
    signal?.addEventListener('abort', stop, { once: true });
    // setImmediate runs after the loop's poll phase, in which results of threads and sockets are delivered.
    timer = setTimeout(() => setImmediate(() => reject(error())), ms);
  });
  try {
    return await Promise.race([work(controller.signal), limit]);
  } catch (cause) {
    controller.abort(cause);
    throw cause;
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener('abort', stop);
  }
}
