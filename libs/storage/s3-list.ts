import {
  AbortMultipartUploadCommand,
  DeleteObjectsCommand,
  ListMultipartUploadsCommand,
  type ListMultipartUploadsCommandOutput,
  ListObjectsV2Command,
} from '@aws-sdk/client-s3';
import { CairnError } from '@cairn/contract';
import { objectKey, objectPrefix } from './object-key.ts';
import type { ListedObject } from './object-store.ts';
import { type S3Bucket, withAbort } from './s3-bucket.ts';
import { hasCode } from './s3-error.ts';

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
    const answer = await bucket.client.send(new ListObjectsV2Command(page), withAbort(signal));
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
    const command = new DeleteObjectsCommand({ Bucket: bucket.location.bucket, Delete: { Objects: names, Quiet: true } });
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
      new ListMultipartUploadsCommand({ Bucket, Prefix, MaxUploads: bucket.limits.pageKeys, ...next }),
      withAbort(signal),
    );
    for (const { Key, UploadId, Initiated } of page.Uploads ?? []) {
      const isOurs = Key?.startsWith(Prefix) ?? false;
      if (!isOurs || Initiated === undefined || Initiated >= before) continue;
      const isThere = await bucket.client.send(new AbortMultipartUploadCommand({ Bucket, Key, UploadId }), withAbort(signal)).then(
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
