import type { CompletedPart } from '@aws-sdk/client-s3';
import { manifestName } from '@cairn/contract';
import { inParallel } from '@cairn/runtime';
import { aws } from './aws.ts';
import { type GetOptions, type ObjectStore, objectKey } from './object-store.ts';
import { defaultS3Limits, maxParts, openBucket, type S3Bucket, type S3Limits, type S3Location, withAbort } from './s3-bucket.ts';
import { noObject, type S3Act, s3Error } from './s3-error.ts';
import { headObject, listObjects, readObject, removeObjects, sweepUploads } from './s3-read.ts';
import { abandonUpload, beginUpload, completion, putObject } from './s3-upload.ts';
import { wholeReads } from './whole-objects.ts';

/**
 * Objects in a bucket of S3 or of a server that speaks its protocol. Credentials, and settings that the location leaves open, come
 * from where the AWS SDK finds them. Interrupted writes leave multipart uploads, which are not visible as objects.
 */
export function openS3Store(location: S3Location, limits: Partial<S3Limits> = {}): ObjectStore {
  const bucket = openBucket(location, { ...defaultS3Limits, ...limits });
  const { client, place } = bucket;
  /** Runs `work`; reports failures of the server as a failure of `act`. */
  async function guarded<T>(act: S3Act, work: () => Promise<T>): Promise<T> {
    try {
      act.signal?.throwIfAborted();
      return await work();
    } catch (error) {
      throw s3Error(error, bucket, act);
    }
  }

  async function get(key: string, options: GetOptions = {}) {
    bucket.addressOf(key);
    return guarded({ act: 'Reading', key, signal: options.signal }, () => readObject(bucket, key, options));
  }

  return {
    url: location.url,
    get,

    async put(key, source, options = {}) {
      bucket.addressOf(key);
      options.signal?.throwIfAborted();
      return putObject(bucket, key, source, options);
    },

    ...wholeReads({ get, guarded, place }),

    async head(key, signal) {
      bucket.addressOf(key);
      return guarded({ act: 'Reading', key, signal }, async () => {
        const found = await headObject(bucket, key, signal);
        return found && { bytes: found.ContentLength ?? 0, modifiedAt: found.LastModified ?? new Date(0) };
      });
    },

    async *list(prefix, signal) {
      try {
        yield* listObjects(bucket, prefix, signal);
      } catch (error) {
        throw s3Error(error, bucket, { act: 'Listing', key: prefix || '(all)', signal });
      }
    },

    async copy(from, to, signal) {
      bucket.addressOf(to);
      return guarded({ act: 'Copying', key: from, signal }, () => copyObject(bucket, from, to, signal));
    },

    async remove(key, signal) {
      const address = bucket.addressOf(key);
      return guarded({ act: 'Removing', key, signal }, async () => {
        await client.send(new (aws().DeleteObjectCommand)(address), withAbort(signal));
      });
    },

    async removePrefix(prefix, signal) {
      const manifest = bucket.addressOf(`${objectKey(prefix)}/${manifestName}`);
      return guarded({ act: 'Removing', key: prefix, signal }, async () => {
        // First, because a kill may leave the rest: half of an artifact must never be taken for a whole one.
        await client.send(new (aws().DeleteObjectCommand)(manifest), withAbort(signal));
        await removeObjects(bucket, prefix, signal);
      });
    },

    async sweepTemporary(olderThanMs, signal) {
      return guarded({ act: 'Sweeping', key: 'unfinished uploads', signal }, () =>
        sweepUploads(bucket, new Date(Date.now() - olderThanMs), signal),
      );
    },
  };
}

type Source = { CopySource: string; CopySourceIfMatch?: string };
type Span = { number: number; range: string };

/** Copies inside the server: in one request, or in parts where the object is large (one request copies at most 5 GiB). */
async function copyObject(bucket: S3Bucket, from: string, to: string, signal: AbortSignal | undefined): Promise<void> {
  const address = bucket.addressOf(from);
  const target = bucket.addressOf(to);
  const found = await headObject(bucket, from, signal);
  if (found === null) throw noObject(bucket, from);
  // An object replaced in the meantime must not result in a mixture.
  const source = { CopySource: sourceOf(address), ...(found.ETag === undefined ? {} : { CopySourceIfMatch: found.ETag }) };
  const bytes = found.ContentLength ?? 0;
  if (bytes > bucket.limits.copyPartBytes) await copyParts(bucket, to, source, bytes, signal);
  else await bucket.client.send(new (aws().CopyObjectCommand)({ ...target, ...source }), withAbort(signal));
}

async function copyParts(bucket: S3Bucket, to: string, source: Source, bytes: number, signal: AbortSignal | undefined): Promise<void> {
  const upload = await beginUpload(bucket, to, {}, signal);
  try {
    const copied: CompletedPart[] = [];
    await inParallel(spansOf(bytes, bucket.limits.copyPartBytes), bucket.limits.parallelParts, async ({ number, range }) => {
      const command = new (aws().UploadPartCopyCommand)({ ...upload, ...source, PartNumber: number, CopySourceRange: range });
      const { CopyPartResult: result } = await bucket.client.send(command, withAbort(signal));
      copied.push({ PartNumber: number, ETag: result?.ETag });
    });
    await bucket.client.send(new (aws().CompleteMultipartUploadCommand)(completion(upload, copied)), withAbort(signal));
  } catch (error) {
    await abandonUpload(bucket, upload);
    throw error;
  }
}

function* spansOf(bytes: number, limit: number): Generator<Span, undefined> {
  const length = Math.max(limit, Math.ceil(bytes / maxParts));
  for (let [start, number] = [0, 1]; start < bytes; [start, number] = [start + length, number + 1]) {
    yield { number, range: `bytes=${start}-${Math.min(start + length, bytes) - 1}` };
  }
  return undefined;
}

/** The SDK sends it unescaped. */
function sourceOf({ Bucket, Key }: { Bucket: string; Key: string }): string {
  return [Bucket, ...Key.split('/')].map(encodeURIComponent).join('/');
}
