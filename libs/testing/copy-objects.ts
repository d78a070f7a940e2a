import { CopyObjectCommand, NoSuchKey, paginateListObjectsV2 } from '@aws-sdk/client-s3';
import { inParallel } from '@cairn/runtime';
import type { TestS3 } from './start-s3.ts';

/** Copies all objects below one prefix of the bucket to another, as a backup of it; one that is removed meanwhile is left out. */
export async function copyObjects({ client, bucket }: Pick<TestS3, 'client' | 'bucket'>, from: string, to: string): Promise<void> {
  async function* keys(): AsyncGenerator<string> {
    for await (const { Contents: objects = [] } of paginateListObjectsV2({ client }, { Bucket: bucket, Prefix: `${from}/` }))
      for (const { Key: key } of objects) if (key !== undefined) yield key;
  }
  await inParallel(keys(), 4, async (key) => {
    const source = [bucket, ...key.split('/')].map(encodeURIComponent).join('/');
    try {
      await client.send(new CopyObjectCommand({ Bucket: bucket, CopySource: source, Key: `${to}${key.slice(from.length)}` }));
    } catch (error) {
      if (!(error instanceof NoSuchKey)) throw error;
    }
  });
}
