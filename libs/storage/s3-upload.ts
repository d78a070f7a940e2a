import { createHash, randomUUID } from 'node:crypto';
import { stat } from 'node:fs/promises';
import type { Readable } from 'node:stream';
import type { CompletedPart } from '@aws-sdk/client-s3';
import { CairnError } from '@cairn/contract';
import { inParallel, sleep, untilAborted } from '@cairn/runtime';
import { aws } from './aws.ts';
import type { ObjectSource, PutOptions, PutResult } from './object-store.ts';
import { maxParts, type S3Bucket, withAbort } from './s3-bucket.ts';
import { attemptsOf, hasCode, hasStatus, isMissing, s3Error } from './s3-error.ts';
import { openSource } from './whole-objects.ts';

/** One object being written. */
type Writing = {
  bucket: S3Bucket;
  key: string;
  ifAbsent: boolean;
  /** Stored with the object, so that a writer for which one already exists can tell whether it is its own. */
  writeId: string;
  signal: AbortSignal | undefined;
};

/** A multipart upload in progress: the address of its requests. */
export type Upload = { Bucket: string; Key: string; UploadId: string };

const writeIdName = 'cairn-write';
const conflictTries = 20;
const conflictPauseMs = 100;

/** Stores the content in one request when it is smaller than a part, else as a multipart upload. */
export async function putObject(
  bucket: S3Bucket,
  key: string,
  source: ObjectSource,
  { ifAbsent = false, signal }: PutOptions,
): Promise<PutResult> {
  const writing = { bucket, key, ifAbsent, writeId: randomUUID(), signal };
  const stream = await openSource(source, key, signal);
  const partBytes = Math.max(bucket.limits.partBytes, Math.ceil((await sizeOf(source)) / maxParts));
  const stop = new AbortController();
  const content = cutParts(stream, partBytes, key, signal === undefined ? stop.signal : AbortSignal.any([signal, stop.signal]));
  try {
    const first = await content.parts.next();
    const isSmall = first.done || first.value.content.length < partBytes;
    const written = isSmall
      ? await putWhole(writing, first.value?.content ?? Buffer.alloc(0))
      : await putParts(writing, first.value, content, () => stop.abort());
    return { bytes: content.bytes(), sha256: content.sha256(), written };
  } catch (error) {
    throw signal?.aborted ? signal.reason : error;
  } finally {
    stream.destroy();
  }
}

/** 0 when it is not known before the end of the content. */
async function sizeOf(source: ObjectSource): Promise<number> {
  if (typeof source === 'string' || source instanceof Uint8Array) return source.length;
  return 'file' in source ? (await stat(source.file)).size : 0;
}

async function putWhole(writing: Writing, content: Buffer): Promise<boolean> {
  const { bucket, key, signal } = writing;
  const command = new (aws().PutObjectCommand)({ ...bucket.addressOf(key), ...markOf(writing), ...conditionOf(writing), Body: content });
  return concluded(writing, content.length, () => bucket.client.send(command, withAbort(signal)));
}

async function putParts(writing: Writing, first: Part, content: PartedContent, stopSource: () => void): Promise<boolean> {
  const { bucket, key, signal } = writing;
  const act = () => ({ act: 'Writing' as const, key, bytes: content.bytes(), signal });
  const upload = await beginUpload(bucket, key, markOf(writing), signal).catch((error: unknown) => {
    throw s3Error(error, bucket, act());
  });
  try {
    const sent: CompletedPart[] = [];
    const sendPart = async ({ number, content: body }: Part) => {
      if (number > maxParts) throw tooLarge(bucket, key, content.bytes());
      const command = new (aws().UploadPartCommand)({ ...upload, PartNumber: number, Body: body });
      const { ETag } = await bucket.client.send(command, withAbort(signal)).catch((error: unknown) => {
        throw s3Error(error, bucket, act());
      });
      sent.push({ PartNumber: number, ETag });
    };
    await inParallel(startingWith(first, content.parts), bucket.limits.parallelParts, sendPart, stopSource);
    signal?.throwIfAborted();
    const complete = completion(upload, sent);
    const command = () => new (aws().CompleteMultipartUploadCommand)({ ...complete, ...conditionOf(writing) });
    const isWritten = await concluded(writing, content.bytes(), () => bucket.client.send(command(), withAbort(signal)));
    if (!isWritten) await abandonUpload(bucket, upload);
    return isWritten;
  } catch (error) {
    await abandonUpload(bucket, upload);
    throw error;
  }
}

/**
 * Sends the request that makes the object appear. Returns false when it was to be written only if absent and another
 * writer's object exists.
 */
async function concluded(writing: Writing, bytes: number, send: () => Promise<unknown>): Promise<boolean> {
  const { bucket, key, ifAbsent, signal } = writing;
  try {
    for (let tries = 1; ; tries += 1) {
      try {
        await send();
        return true;
      } catch (error) {
        // The answer to an earlier try may have been lost: then the object is there, and it is ours.
        const isAmbiguous = hasStatus(error, 412) || hasCode(error, 'NoSuchUpload');
        if (isAmbiguous && attemptsOf(error) > 1 && (await isOwn(writing))) return true;
        if (ifAbsent && hasStatus(error, 412)) return false;
        // Another conditional write or a removal of this key was in progress: the server does not report how it ended.
        if (!ifAbsent || !hasStatus(error, 409) || tries === conflictTries) throw error;
        await sleep(conflictPauseMs, signal);
      }
    }
  } catch (error) {
    throw s3Error(error, bucket, { act: 'Writing', key, bytes, signal });
  }
}

async function isOwn({ bucket, key, writeId, signal }: Writing): Promise<boolean> {
  const found = await bucket.client
    .send(new (aws().HeadObjectCommand)(bucket.addressOf(key)), withAbort(signal))
    .catch((error: unknown) => {
      if (isMissing(error)) return undefined;
      throw error;
    });
  return found?.Metadata?.[writeIdName] === writeId;
}

const markOf = ({ writeId }: Writing) => ({ Metadata: { [writeIdName]: writeId } });
const conditionOf = ({ ifAbsent }: Writing) => (ifAbsent ? { IfNoneMatch: '*' } : {});

export async function beginUpload(
  bucket: S3Bucket,
  key: string,
  extra: { Metadata?: Record<string, string> },
  signal: AbortSignal | undefined,
): Promise<Upload> {
  const address = bucket.addressOf(key);
  const { UploadId } = await bucket.client.send(new (aws().CreateMultipartUploadCommand)({ ...address, ...extra }), withAbort(signal));
  if (UploadId === undefined) throw new Error('the server started a multipart upload without an id');
  return { ...address, UploadId };
}

export function completion(upload: Upload, parts: CompletedPart[]) {
  const inOrder = parts.toSorted((a, b) => (a.PartNumber ?? 0) - (b.PartNumber ?? 0));
  return { ...upload, MultipartUpload: { Parts: inOrder } };
}

/** Removes an upload and its parts, even after an abort. Where the server does not answer, the sweep does it later. */
export async function abandonUpload(bucket: S3Bucket, upload: Upload): Promise<void> {
  const limit = AbortSignal.timeout(bucket.limits.abortMs);
  await bucket.client.send(new (aws().AbortMultipartUploadCommand)(upload), { abortSignal: limit }).catch(() => undefined);
}

async function* startingWith<T>(first: T, rest: AsyncIterator<T, undefined>): AsyncGenerator<T, undefined> {
  yield first;
  for (let next = await rest.next(); !next.done; next = await rest.next()) yield next.value;
  return undefined;
}

function tooLarge(bucket: S3Bucket, key: string, bytes: number): CairnError {
  return new CairnError(
    'storage_failed',
    `Writing ${key} in ${bucket.place} failed: a stream of more than ${bytes} bytes has more than ${maxParts} parts. Store it from a file, whose size is known in advance.`,
    { details: { key, place: bucket.place, bytes } },
  );
}

type Part = { number: number; content: Buffer };

type PartedContent = {
  /** Each of `partBytes`, the last smaller; one empty part for no content. Errors of the source are passed on unchanged. */
  parts: AsyncIterator<Part, undefined>;
  /** Of the content read so far. */
  bytes(): number;
  /** Of the whole content; call it once, after the last part. */
  sha256(): string;
};

/**
 * Cuts a stream into parts with as little copying as possible; holds no part that it has yielded. The signal ends the
 * wait for the next part: destroying a stream made from a generator does not end a generator that waits.
 */
function cutParts(source: Readable, partBytes: number, key: string, signal: AbortSignal): PartedContent {
  const hash = createHash('sha256');
  let bytes = 0;

  async function* cut(): AsyncGenerator<Part, undefined> {
    let number = 1;
    let pieces: Buffer[] = [];
    let length = 0;
    const next = () => {
      const content = pieces.length === 1 && pieces[0] !== undefined ? pieces[0] : Buffer.concat(pieces, length);
      const part = { number, content };
      [number, pieces, length] = [number + 1, [], 0];
      return part;
    };
    for await (const chunk of source) {
      let rest = bytesOf(chunk, key);
      hash.update(rest);
      bytes += rest.length;
      while (rest.length > 0) {
        const piece = rest.subarray(0, partBytes - length);
        pieces.push(piece);
        length += piece.length;
        rest = rest.subarray(piece.length);
        if (length === partBytes) yield next();
      }
    }
    if (length > 0 || number === 1) yield next();
    return undefined;
  }

  const all = cut();
  return { parts: { next: () => untilAborted(all.next(), signal) }, bytes: () => bytes, sha256: () => hash.digest('hex') };
}

function bytesOf(chunk: unknown, key: string): Buffer {
  if (typeof chunk === 'string') return Buffer.from(chunk);
  if (chunk instanceof Uint8Array) return Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength);
  throw new TypeError(`the stream to store as ${key} does not consist of bytes`);
}
