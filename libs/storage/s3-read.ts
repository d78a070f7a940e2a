import { Readable } from 'node:stream';
import { GetObjectCommand, HeadBucketCommand, HeadObjectCommand, type HeadObjectCommandOutput } from '@aws-sdk/client-s3';
import { CairnError } from '@cairn/contract';
import type { GetOptions } from './object-store.ts';
import { type S3Bucket, withAbort } from './s3-bucket.ts';
import { hasCode, hasStatus, isMissing, noObject, s3Error } from './s3-error.ts';

/** Bytes from `start` up to but excluding `end`, of the object as it was when the read began. */
type Span = { start: number; end: number | undefined; etag?: string | undefined };
type Opened = { body: Readable; bytes: number; etag: string | undefined };

const highWaterMark = 2 ** 20;

/**
 * The object's bytes as a stream. When the connection breaks, it continues at the same byte, as long as the object is
 * unchanged.
 */
export async function readObject(bucket: S3Bucket, key: string, { range, signal }: GetOptions): Promise<Readable> {
  const span = { start: range?.start ?? 0, end: range?.end };
  if (span.end !== undefined && span.end <= span.start) {
    if ((await headObject(bucket, key, signal)) === null) throw noObject(bucket, key);
    return Readable.from([]);
  }
  const ended = new AbortController();
  const either = signal === undefined ? ended.signal : AbortSignal.any([signal, ended.signal]);
  const first = await openSpan(bucket, key, span, either);
  if (first === undefined) return Readable.from([]);
  const chunks = readOn(bucket, key, span.start, first, either);
  return new Readable({
    highWaterMark,
    read() {
      chunks.next().then(
        ({ done, value }) => this.push(done ? null : value),
        (error: unknown) => this.destroy(error instanceof Error ? error : new Error(String(error), { cause: error })),
      );
    },
    destroy(error, callback) {
      ended.abort(error ?? undefined);
      callback(error);
    },
  });
}

async function* readOn(bucket: S3Bucket, key: string, start: number, first: Opened, signal: AbortSignal): AsyncGenerator<Uint8Array> {
  const act = { act: 'Reading' as const, key, signal };
  const end = start + first.bytes;
  let [position, fruitless, body] = [start, 0, first.body];
  try {
    for (;;) {
      let cause: unknown = new Error('the answer ended early');
      const chunks: AsyncIterator<Uint8Array> = body[Symbol.asyncIterator]();
      for (;;) {
        const next = await chunks.next().catch((error: unknown) => {
          cause = error;
        });
        if (next === undefined || next.done) break;
        position += next.value.length;
        fruitless = 0;
        yield next.value;
      }
      body.destroy();
      signal.throwIfAborted();
      if (position >= end) return;
      fruitless += 1;
      if (fruitless > bucket.limits.fruitlessResumes) throw s3Error(cause, bucket, act);
      const opened = await openSpan(bucket, key, { start: position, end, etag: first.etag }, signal).catch((error: unknown) => {
        throw hasStatus(error, 412) ? replaced(bucket, key, error) : s3Error(error, bucket, act);
      });
      if (opened === undefined) throw replaced(bucket, key, cause);
      body = opened.body;
    }
  } finally {
    body.destroy();
  }
}

/** Undefined when the object has no byte at `start`. */
async function openSpan(bucket: S3Bucket, key: string, { start, end, etag }: Span, signal: AbortSignal): Promise<Opened | undefined> {
  const isWhole = start === 0 && end === undefined;
  const command = new GetObjectCommand({
    ...bucket.addressOf(key),
    ...(isWhole ? {} : { Range: `bytes=${start}-${end === undefined ? '' : end - 1}` }),
    ...(etag === undefined ? {} : { IfMatch: etag }),
  });
  const answer = await bucket.client.send(command, withAbort(signal)).catch((error: unknown) => {
    if (hasCode(error, 'InvalidRange') || hasStatus(error, 416)) return undefined;
    throw error;
  });
  if (answer === undefined) return undefined;
  const { Body: body, ContentLength: bytes, ContentRange: range, ETag } = answer;
  if (!(body instanceof Readable) || bytes === undefined) throw new Error('the answer has no body or no length');
  // It may fail while nobody reads; the next reader gets the error.
  body.on('error', () => undefined);
  if (start > 0 && !range?.startsWith(`bytes ${start}-`)) {
    body.destroy();
    throw new Error(`the answer is not the requested range from byte ${start}`);
  }
  return { body, bytes, etag: ETag };
}

function replaced(bucket: S3Bucket, key: string, cause: unknown): CairnError {
  return new CairnError('storage_failed', `The object ${key} in ${bucket.place} was replaced while it was read. Read it again.`, {
    cause,
    details: { key, place: bucket.place },
  });
}

/** The server's metadata of an object; null when it does not exist. */
export async function headObject(bucket: S3Bucket, key: string, signal: AbortSignal | undefined): Promise<HeadObjectCommandOutput | null> {
  try {
    return await bucket.client.send(new HeadObjectCommand(bucket.addressOf(key)), withAbort(signal));
  } catch (error) {
    if (!isMissing(error)) throw error;
    await checkBucket(bucket, signal);
    return null;
  }
}

/** The answer to HEAD for a missing object is the same as for a missing bucket. */
async function checkBucket({ client, location, seen }: S3Bucket, signal: AbortSignal | undefined): Promise<void> {
  if (seen.isThere) return;
  try {
    await client.send(new HeadBucketCommand({ Bucket: location.bucket }), withAbort(signal));
  } catch (error) {
    if (hasStatus(error, 404)) throw Object.assign(new Error('the bucket is missing', { cause: error }), { name: 'NoSuchBucket' });
    // Some credentials may read objects but not query the bucket.
    if (!hasStatus(error, 403)) throw error;
  }
  seen.isThere = true;
}
