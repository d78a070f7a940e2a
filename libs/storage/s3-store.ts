import { DeleteObjectCommand } from '@aws-sdk/client-s3';
import { manifestName } from '@cairn/contract';
import { downloadWhole } from './download-whole.ts';
import { objectKey } from './object-key.ts';
import type { GetOptions, ObjectStore } from './object-store.ts';
import { heeding, openBucket } from './s3-bucket.ts';
import { copyObject } from './s3-copy.ts';
import { type S3Act, s3Error } from './s3-error.ts';
import { headObject } from './s3-head.ts';
import { defaultS3Limits, type S3Limits } from './s3-limits.ts';
import { listObjects, removeObjects, sweepUploads } from './s3-list.ts';
import type { S3Location } from './s3-location.ts';
import { readObject } from './s3-read.ts';
import { putObject } from './s3-upload.ts';

/**
 * Objects in a bucket of S3 or of a server that speaks its protocol. Credentials, and what the location leaves open, come
 * from where the AWS SDK looks for them. What interrupted writes leave are multipart uploads, which nobody sees as objects.
 */
export function openS3Store(location: S3Location, limits: Partial<S3Limits> = {}): ObjectStore {
  const bucket = openBucket(location, { ...defaultS3Limits, ...limits });
  const { client, place } = bucket;
  /** Runs `work` with failures of the server told as what `act` failed at. */
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

    async getBytes(key, options = {}) {
      const stream = await get(key, options);
      return guarded({ act: 'Reading', key, signal: options.signal }, async () => {
        const chunks: Buffer[] = [];
        for await (const chunk of stream) chunks.push(chunk);
        return Buffer.concat(chunks);
      });
    },

    async download(key, file, { sha256, signal } = {}) {
      const stream = await get(key, signal === undefined ? {} : { signal });
      return downloadWhole(stream, { key, place, file, sha256, signal });
    },

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
        await client.send(new DeleteObjectCommand(address), heeding(signal));
      });
    },

    async removePrefix(prefix, signal) {
      const manifest = bucket.addressOf(`${objectKey(prefix)}/${manifestName}`);
      return guarded({ act: 'Removing', key: prefix, signal }, async () => {
        // First, for a kill may leave the rest: half of an artifact is never taken for one.
        await client.send(new DeleteObjectCommand(manifest), heeding(signal));
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
