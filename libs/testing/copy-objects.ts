import { CopyObjectCommand, NoSuchKey, paginateListObjectsV2 } from '@aws-sdk/client-s3';
import type { TestS3 } from './start-s3.ts';

/** Copies all objects below one prefix of the bucket to another, as a backup of it; one that is removed meanwhile is left out. Answers how many. */
export async function copyObjects({ client, bucket }: Pick<TestS3, 'client' | 'bucket'>, from: string, to: string): Promise<number> {
  let count = 0;
  for await (const { Contents: objects = [] } of paginateListObjectsV2({ client }, { Bucket: bucket, Prefix: `${from}/` })) {
    for (const { Key: key = '' } of objects) {
      const source = `${bucket}/${key}`.split('/').map(encodeURIComponent).join('/');
      count += await client.send(new CopyObjectCommand({ Bucket: bucket, CopySource: source, Key: `${to}${key.slice(from.length)}` })).then(
        () => 1,
        (error: unknown) => {
          if (error instanceof NoSuchKey) return 0;
          throw error;
        },
      );
    }
  }
  return count;
}
