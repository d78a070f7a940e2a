import { Readable } from 'node:stream';
import { CairnError } from '@cairn/contract';
import { aws } from '../aws.ts';
import { defaultS3Limits, openBucket, type S3Location } from '../s3-bucket.ts';
import { hasStatus, isMissing, s3Error, statusOf } from '../s3-error.ts';
import type { SourceFile, SourceRequests } from './source.ts';

/** Answers that do not change by themselves: credentials, rights, a missing bucket, a wrong region. */
const finalStatus = new Set([301, 400, 401, 403, 404, 405, 501]);

/** A prefix of a bucket, read only. */
export function s3Source(location: S3Location, { idleMs }: { idleMs: number }): SourceRequests {
  const limits = { ...defaultS3Limits, attempts: 1, silenceMs: idleMs };
  let bucket = openBucket(location, limits);
  const { place: url } = bucket;

  return {
    url,

    async head(path, abortSignal) {
      try {
        const found = await bucket.client.send(new (aws().HeadObjectCommand)(bucket.addressOf(path)), { abortSignal });
        return fileOf(path, found.ContentLength, found);
      } catch (error) {
        if (isMissing(error)) return null;
        throw error;
      }
    },

    async open(path, { start, end }, abortSignal) {
      const command = new (aws().GetObjectCommand)({ ...bucket.addressOf(path), Range: `bytes=${start}-${end - 1}` });
      const answer = await bucket.client.send(command, { abortSignal }).catch((error: unknown) => {
        if (isMissing(error)) return null;
        throw hasStatus(error, 416) ? shorter(`${url}/${path}`, start) : error;
      });
      if (answer === null) return null;
      const { Body: body, ContentRange: range = '' } = answer;
      if (!(body instanceof Readable)) throw new Error('the answer has no body');
      body.on('error', () => undefined);
      const [, first, bytes] = /^bytes (\d+)-\d+\/(\d+)$/.exec(range) ?? [];
      if (Number(first) !== start) {
        body.destroy();
        throw new Error(`the answer is not the requested range from byte ${start}`);
      }
      return { body, file: fileOf(path, Number(bytes), answer) };
    },

    async *list(folder, abortSignal) {
      const { bucket: Bucket, prefix } = location;
      const Prefix = `${prefix}${folder === '' ? '' : `${folder}/`}`;
      let token: string | undefined;
      do {
        const page = {
          Bucket,
          Prefix,
          Delimiter: '/',
          MaxKeys: limits.pageKeys,
          ...(token === undefined ? {} : { ContinuationToken: token }),
        };
        const answer = await bucket.client.send(new (aws().ListObjectsV2Command)(page), { abortSignal });
        const files = (answer.Contents ?? []).flatMap(({ Key = '', ...object }) =>
          Key === Prefix ? [] : [fileOf(Key.slice(prefix.length), object.Size, object)],
        );
        const folders = (answer.CommonPrefixes ?? []).map((one) => (one.Prefix ?? '').slice(Prefix.length, -1));
        yield { files, folders };
        token = answer.IsTruncated ? answer.NextContinuationToken : undefined;
      } while (token !== undefined);
    },

    faultOf(error, path) {
      if (error instanceof CairnError) return { error, mayPass: false };
      const told = s3Error(error, bucket, { act: 'Reading', key: path });
      const shown = told instanceof Error ? told : new Error(String(told));
      const status = statusOf(error);
      const isAboutCredentials = error instanceof Error && error.name === 'CredentialsProviderError';
      // A 400 too, for a connection that was too slow.
      const isSlow = error instanceof Error && error.name === 'RequestTimeout';
      const mayPass = isSlow || (!isAboutCredentials && (status === undefined || !finalStatus.has(status)));
      if (mayPass) return { error: shown, mayPass };
      return {
        error: new CairnError('source_denied', shown.message, { cause: error, details: { file: `${url}/${path}` } }),
        mayPass: false,
      };
    },

    renew() {
      bucket.client.destroy();
      bucket = openBucket(location, limits);
    },
    close: () => bucket.client.destroy(),
  };
}

type Described = { ETag?: string | undefined; LastModified?: Date | undefined };

function fileOf(path: string, bytes: number | undefined, { ETag, LastModified }: Described): SourceFile {
  const changedMs = Math.floor((LastModified?.getTime() ?? 0) / 1000) * 1000;
  return { path, bytes: bytes ?? 0, changedMs, etag: ETag?.replaceAll('"', '') ?? null };
}

/** The file has fewer bytes than where a read begins. */
export function shorter(file: string, start: number): CairnError {
  return new CairnError('dataset_changed', `${file} ends before byte ${start}: it is shorter than it was`, { details: { file, start } });
}
