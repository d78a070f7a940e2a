import { CairnError, ownValue } from '@cairn/contract';
import type { S3Bucket } from './s3-bucket.ts';

/** What the program was doing when the object store failed. */
export type S3Act = {
  act: 'Reading' | 'Writing' | 'Copying' | 'Removing' | 'Listing' | 'Sweeping';
  key: string;
  /** Bytes of the content offered so far. */
  bytes?: number;
  signal?: AbortSignal | undefined;
};

/** The problem and what to do, by the code of the answer, its status where it has none, or the connection's error. */
const remedies: Record<string, (bucket: S3Bucket) => string> = {
  NoSuchBucket: ({ location }) => `there is no bucket ${location.bucket}${at(location.endpoint)}. Create it, or correct the storage URL`,
  AccessDenied: ({ location }) =>
    `the credentials do not permit this. Allow them to list, read, write and delete in the bucket ${location.bucket}, and to list and abort its multipart uploads`,
  InvalidAccessKeyId: ({ location }) =>
    `the access key is unknown${at(location.endpoint)}. Correct AWS_ACCESS_KEY_ID, the profile or the role`,
  SignatureDoesNotMatch: () => 'the secret key does not belong to the access key. Correct AWS_SECRET_ACCESS_KEY, the profile or the role',
  ExpiredToken: () => 'the credentials have expired. Renew them',
  CredentialsProviderError: () =>
    'no credentials were found. Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give the program a profile or a role',
  RequestTimeTooSkewed: () => "this machine's clock differs too much from the server's. Correct it",
  PermanentRedirect: ({ location }) =>
    `the bucket ${location.bucket} is in another region. Correct the region in the storage URL or in AWS_REGION`,
  NotImplemented: ({ location }) =>
    `the server${at(location.endpoint)} does not support this request. Use one with multipart uploads and conditional writes`,
  SlowDown: () => 'the server is limiting requests, and still did after several retries. Try again later',
  unreachable: ({ location }) =>
    `the server${at(location.endpoint)} cannot be reached. Check that it runs, and the endpoint in the storage URL or in AWS_ENDPOINT_URL_S3`,
  silent: ({ location }) => `the server${at(location.endpoint)} does not answer in time. Check its load and the network`,
};

/** Other codes that mean the same. */
const synonyms: Record<string, string> = {
  AllAccessDisabled: 'AccessDenied',
  AccountProblem: 'AccessDenied',
  InvalidToken: 'ExpiredToken',
  TokenRefreshRequired: 'ExpiredToken',
  AuthorizationHeaderMalformed: 'PermanentRedirect',
  ServiceUnavailable: 'SlowDown',
  TooManyRequests: 'SlowDown',
  ECONNREFUSED: 'unreachable',
  ENOTFOUND: 'unreachable',
  EAI_AGAIN: 'unreachable',
  EHOSTUNREACH: 'unreachable',
  ENETUNREACH: 'unreachable',
  ECONNRESET: 'unreachable',
  EPIPE: 'unreachable',
  ETIMEDOUT: 'silent',
  TimeoutError: 'silent',
  RequestTimeout: 'silent',
};

/** Answers to HEAD have no body, so no code. */
const byStatus: Record<number, string> = {
  301: 'PermanentRedirect',
  403: 'AccessDenied',
  429: 'SlowDown',
  501: 'NotImplemented',
  503: 'SlowDown',
};

/** The SDK's codes for a 404 without a body. */
const bareCodes = new Set(['NotFound', 'UnknownError', 'Unknown', '404']);

const fullCodes = new Set(['QuotaExceeded', 'InsufficientStorage', 'StorageFull', 'XMinioStorageFull', 'XMinioAdminBucketQuotaExceeded']);

/** The error to throw for a failure of the object store: a CairnError, or the reason of an abort. Contains no secrets. */
export function s3Error(error: unknown, bucket: S3Bucket, { act, key, bytes, signal }: S3Act): unknown {
  if (signal?.aborted) return signal.reason;
  if (error instanceof CairnError) return error;
  const { code, status, requestId } = faultOf(error);
  const { place } = bucket;
  const options = { cause: withoutSecrets(error, code), details: { key, place, code, status, requestId, bytes } };
  if (isMissing(error)) return noObject(bucket, key, options);
  if (code === 'KeyTooLongError')
    return new CairnError('invalid_path', `The object key ${JSON.stringify(key)} is too long for ${place}.`, options);
  if (fullCodes.has(code) || status === 507) {
    const written = bytes === undefined ? '' : `: ${bytes} bytes were offered`;
    return new CairnError('storage_full', `No space is left in ${place} for ${key}${written}.`, options);
  }
  const remedy = ownValue(remedies, ownValue(synonyms, code) ?? code) ?? remedies[byStatus[status ?? 0] ?? ''];
  const why = remedy?.(bucket) ?? `the server answered ${status === undefined ? '' : `${status} `}${code}: ${messageOf(error)}`;
  return new CairnError('storage_failed', `${act} ${key} in ${place} failed: ${why.replace(/\.$/, '')}.`, options);
}

export function noObject({ place }: S3Bucket, key: string, options: ErrorDetails = { details: { key, place } }): CairnError {
  return new CairnError('not_found', `There is no object ${key} in ${place}.`, options);
}

/** True when the answer means that the object does not exist, not that its bucket is missing. */
export function isMissing(error: unknown): boolean {
  const { code, status } = faultOf(error);
  return code === 'NoSuchKey' || (status === 404 && bareCodes.has(code));
}

export function hasCode(error: unknown, ...codes: string[]): boolean {
  return codes.includes(faultOf(error).code);
}

export function hasStatus(error: unknown, status: number): boolean {
  return faultOf(error).status === status;
}

/** The status of the server's answer; undefined where there was none. */
export function statusOf(error: unknown): number | undefined {
  return faultOf(error).status;
}

/** How often a failed request was sent. */
export function attemptsOf(error: unknown): number {
  return metadataOf(error)?.attempts ?? 1;
}

type ErrorDetails = { cause?: unknown; details: Record<string, unknown> };
type Metadata = { httpStatusCode?: number; requestId?: string; attempts?: number };

function faultOf(error: unknown): { code: string; status: number | undefined; requestId: string | undefined } {
  if (!(error instanceof Error)) return { code: 'unknown', status: undefined, requestId: undefined };
  const metadata = metadataOf(error);
  // Connection errors are named Error and have a code; answers have it as their name.
  const code = metadata?.httpStatusCode === undefined && 'code' in error && typeof error.code === 'string' ? error.code : error.name;
  return { code, status: metadata?.httpStatusCode, requestId: metadata?.requestId };
}

function metadataOf(error: unknown): Metadata | undefined {
  if (!(error instanceof Error) || !('$metadata' in error)) return undefined;
  const metadata = error.$metadata;
  return typeof metadata === 'object' && metadata !== null ? metadata : undefined;
}

/** Some servers repeat the access key and what they signed, in fields of the error or in its text. */
function withoutSecrets(error: unknown, code: string): Error {
  const safe = new Error(isAboutCredentials(code) ? code : messageOf(error));
  safe.name = code;
  if (error instanceof Error && error.stack !== undefined)
    safe.stack = `${code}\n${error.stack.slice(error.stack.indexOf('\n    at ') + 1)}`;
  return safe;
}

function isAboutCredentials(code: string): boolean {
  return /AccessKey|Signature|Token|Authorization|Credential/.test(code);
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function at(endpoint: string | undefined): string {
  return endpoint === undefined ? '' : ` at ${endpoint}`;
}
