import { type CompletedPart, CompleteMultipartUploadCommand, CopyObjectCommand, UploadPartCopyCommand } from '@aws-sdk/client-s3';
import { inParallel } from '@cairn/runtime';
import { heeding, type S3Bucket } from './s3-bucket.ts';
import { noObject } from './s3-error.ts';
import { headObject } from './s3-head.ts';
import { mostParts } from './s3-limits.ts';
import { abandonUpload, beginUpload, completion } from './s3-upload.ts';

type Source = { CopySource: string; CopySourceIfMatch?: string };
type Span = { number: number; range: string };

/** Copies inside the server: in one request, or in parts where the object is large (one request copies at most 5 GiB). */
export async function copyObject(bucket: S3Bucket, from: string, to: string, signal: AbortSignal | undefined): Promise<void> {
  const address = bucket.addressOf(from);
  const target = bucket.addressOf(to);
  const found = await headObject(bucket, from, signal);
  if (found === null) throw noObject(bucket, from);
  // What is replaced meanwhile must not come out as a mixture.
  const source = { CopySource: sourceOf(address), ...(found.ETag === undefined ? {} : { CopySourceIfMatch: found.ETag }) };
  const bytes = found.ContentLength ?? 0;
  if (bytes > bucket.limits.copyPartBytes) await copyParts(bucket, to, source, bytes, signal);
  else await bucket.client.send(new CopyObjectCommand({ ...target, ...source }), heeding(signal));
}

async function copyParts(bucket: S3Bucket, to: string, source: Source, bytes: number, signal: AbortSignal | undefined): Promise<void> {
  const upload = await beginUpload(bucket, to, {}, signal);
  try {
    const copied: CompletedPart[] = [];
    await inParallel(spansOf(bytes, bucket.limits.copyPartBytes), bucket.limits.parallelParts, async ({ number, range }) => {
      const command = new UploadPartCopyCommand({ ...upload, ...source, PartNumber: number, CopySourceRange: range });
      const { CopyPartResult: result } = await bucket.client.send(command, heeding(signal));
      copied.push({ PartNumber: number, ETag: result?.ETag });
    });
    await bucket.client.send(new CompleteMultipartUploadCommand(completion(upload, copied)), heeding(signal));
  } catch (error) {
    await abandonUpload(bucket, upload);
    throw error;
  }
}

function* spansOf(bytes: number, limit: number): Generator<Span, undefined> {
  const length = Math.max(limit, Math.ceil(bytes / mostParts));
  for (let [start, number] = [0, 1]; start < bytes; [start, number] = [start + length, number + 1]) {
    yield { number, range: `bytes=${start}-${Math.min(start + length, bytes) - 1}` };
  }
  return undefined;
}

/** The SDK sends it as it is. */
function sourceOf({ Bucket, Key }: { Bucket: string; Key: string }): string {
  return [Bucket, ...Key.split('/')].map(encodeURIComponent).join('/');
}
