import { Readable } from 'node:stream';
import type { HeadObjectCommandOutput, ListMultipartUploadsCommandOutput } from '@aws-sdk/client-s3';
import { CairnError } from '@cairn/contract';
import { aws } from './aws.ts';
import { type GetOptions, type ListedObject, objectKey, objectPrefix } from './object-store.ts';
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
  const command = new (aws().GetObjectCommand)({
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
    return await bucket.client.send(new (aws().HeadObjectCommand)(bucket.addressOf(key)), withAbort(signal));
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
    await client.send(new (aws().HeadBucketCommand)({ Bucket: location.bucket }), withAbort(signal));
  } catch (error) {
    if (hasStatus(error, 404)) throw Object.assign(new Error('the bucket is missing', { cause: error }), { name: 'NoSuchBucket' });
    // Some credentials may read objects but not query the bucket.
    if (!hasStatus(error, 403)) throw error;
  }
  seen.isThere = true;
}

/** The server's names under a prefix of keys, in whole pages of at most 1,000. */
async function* listPages(bucket: S3Bucket, prefix: string, signal: AbortSignal | undefined) {
  const start = objectPrefix(prefix);
  const { bucket: Bucket, prefix: base } = bucket.location;
  let token: string | undefined;
  do {
    const MaxKeys = bucket.limits.pageKeys;
    const page = {
      Bucket,
      MaxKeys,
      Prefix: `${base}${start === '' ? '' : `${start}/`}`,
      ...(token === undefined ? {} : { ContinuationToken: token }),
    };
    const answer = await bucket.client.send(new (aws().ListObjectsV2Command)(page), withAbort(signal));
    yield answer.Contents ?? [];
    token = answer.IsTruncated ? answer.NextContinuationToken : undefined;
  } while (token !== undefined);
}

/**
 * Names that are not keys of ours, such as the folder markers of some tools, are left out. All names are collected
 * first: not every server lists in byte order (SeaweedFS has `a/d/e` before `a/d-f`).
 */
export async function* listObjects(bucket: S3Bucket, prefix: string, signal: AbortSignal | undefined): AsyncGenerator<ListedObject> {
  const found: ListedObject[] = [];
  for await (const page of listPages(bucket, prefix, signal)) {
    for (const { Key: name = '', Size: bytes = 0, LastModified: modifiedAt = new Date(0) } of page) {
      const key = name.slice(bucket.location.prefix.length);
      if (isKey(key)) found.push({ key, bytes, modifiedAt });
    }
  }
  const isInOrder = found.every(({ key }, index) => index === 0 || compareBytes(found[index - 1]?.key ?? '', key) < 0);
  for (const object of isInOrder ? found : found.sort((a, b) => compareBytes(a.key, b.key))) {
    signal?.throwIfAborted();
    yield object;
  }
}

function compareBytes(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b));
}

function isKey(key: string): boolean {
  try {
    return objectKey(key) === key;
  } catch {
    return false;
  }
}

/** Removes every object under the prefix, one page per request. */
export async function removeObjects(bucket: S3Bucket, prefix: string, signal: AbortSignal | undefined): Promise<void> {
  for await (const page of listPages(bucket, objectKey(prefix), signal)) {
    const names = page.flatMap(({ Key }) => (Key === undefined ? [] : [{ Key }]));
    if (names.length === 0) continue;
    const command = new (aws().DeleteObjectsCommand)({ Bucket: bucket.location.bucket, Delete: { Objects: names, Quiet: true } });
    const { Errors: errors = [] } = await bucket.client.send(command, withAbort(signal));
    if (errors.length > 0) throw notRemoved(bucket, prefix, errors);
  }
}

type KeyError = { Key?: string | undefined; Code?: string | undefined; Message?: string | undefined };

function notRemoved(bucket: S3Bucket, prefix: string, errors: readonly KeyError[]): CairnError {
  const base = bucket.location.prefix.length;
  const shown = errors
    .slice(0, 3)
    .map(({ Key, Code, Message }) => `${Key?.slice(base) ?? '?'} (${Code ?? 'no code'}: ${Message ?? 'no reason'})`);
  const others = errors.length > shown.length ? ` and ${errors.length - shown.length} others` : '';
  return new CairnError('storage_failed', `Removing ${prefix} in ${bucket.place} failed for ${shown.join(', ')}${others}.`, {
    details: { prefix, place: bucket.place, errors },
  });
}

/** Removes the multipart uploads started before `before`. Returns how many. */
export async function sweepUploads(bucket: S3Bucket, before: Date, signal: AbortSignal | undefined): Promise<number> {
  const { bucket: Bucket, prefix: Prefix } = bucket.location;
  let swept = 0;
  let page: ListMultipartUploadsCommandOutput | undefined;
  do {
    const next = page === undefined ? {} : { KeyMarker: page.NextKeyMarker, UploadIdMarker: page.NextUploadIdMarker };
    page = await bucket.client.send(
      new (aws().ListMultipartUploadsCommand)({ Bucket, Prefix, MaxUploads: bucket.limits.pageKeys, ...next }),
      withAbort(signal),
    );
    for (const { Key, UploadId, Initiated } of page.Uploads ?? []) {
      const isOurs = Key?.startsWith(Prefix) ?? false;
      if (!isOurs || Initiated === undefined || Initiated >= before) continue;
      const isThere = await bucket.client.send(new (aws().AbortMultipartUploadCommand)({ Bucket, Key, UploadId }), withAbort(signal)).then(
        () => true,
        (error: unknown) => {
          // Its writer finished first.
          if (hasCode(error, 'NoSuchUpload')) return false;
          throw error;
        },
      );
      if (isThere) swept += 1;
    }
  } while (page.IsTruncated);
  return swept;
}
