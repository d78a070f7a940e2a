import { HeadBucketCommand, HeadObjectCommand, type HeadObjectCommandOutput } from '@aws-sdk/client-s3';
import { heeding, type S3Bucket } from './s3-bucket.ts';
import { hasStatus, isMissing } from './s3-error.ts';

/** What the server says of an object; null when there is none. */
export async function headObject(bucket: S3Bucket, key: string, signal: AbortSignal | undefined): Promise<HeadObjectCommandOutput | null> {
  try {
    return await bucket.client.send(new HeadObjectCommand(bucket.addressOf(key)), heeding(signal));
  } catch (error) {
    if (!isMissing(error)) throw error;
    await checkBucket(bucket, signal);
    return null;
  }
}

/** The answer to HEAD on a missing object is the same as on a missing bucket. */
async function checkBucket({ client, location, seen }: S3Bucket, signal: AbortSignal | undefined): Promise<void> {
  if (seen.isThere) return;
  try {
    await client.send(new HeadBucketCommand({ Bucket: location.bucket }), heeding(signal));
  } catch (error) {
    if (hasStatus(error, 404)) throw Object.assign(new Error('the bucket is missing', { cause: error }), { name: 'NoSuchBucket' });
    // Some may read objects and not ask for the bucket.
    if (!hasStatus(error, 403)) throw error;
  }
  seen.isThere = true;
}
