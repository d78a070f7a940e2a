import http from 'node:http';
import https from 'node:https';
import type { S3Client, S3ClientConfig } from '@aws-sdk/client-s3';
import { CairnError } from '@cairn/contract';
import { backoff, usedProxies } from '@cairn/runtime';
import { aws } from './aws.ts';
import { objectKey, objectPrefix } from './object-store.ts';

/** What the functions on objects in S3 need. */
export type S3Bucket = {
  client: S3Client;
  limits: S3Limits;
  location: S3Location;
  /** The bucket and prefix, for messages. */
  place: string;
  /** What earlier requests have revealed. */
  seen: { isThere: boolean };
  /** Bucket and name of an object. @throws CairnError `invalid_path` for an invalid key, or one too long with the prefix. */
  addressOf(key: string): { Bucket: string; Key: string };
};

const maxNameBytes = 1024;
/** Connections to the server, the SDK's default. */
const maxSockets = 50;

/** Does not connect yet. */
export function openBucket(location: S3Location, limits: S3Limits): S3Bucket {
  const place = `s3://${location.bucket}/${location.prefix}`.replace(/\/$/, '');
  return {
    client: new (aws().S3Client)(clientConfig(location, limits)),
    limits,
    location,
    place,
    seen: { isThere: false },
    addressOf(key) {
      const name = `${location.prefix}${objectKey(key)}`;
      if (Buffer.byteLength(name) > maxNameBytes) {
        throw new CairnError('invalid_path', `The object key ${JSON.stringify(key)} is longer than ${maxNameBytes} bytes in ${place}.`, {
          details: { key, place },
        });
      }
      return { Bucket: location.bucket, Key: name };
    },
  };
}

/** An abort signal for a request, if there is one. */
export function withAbort(signal: AbortSignal | undefined): { abortSignal?: AbortSignal } {
  return signal === undefined ? {} : { abortSignal: signal };
}

function clientConfig(location: S3Location, limits: S3Limits): S3ClientConfig {
  return {
    ...(location.endpoint === undefined ? {} : { endpoint: location.endpoint }),
    region: location.region ?? (() => regionOfEnvironment(location)),
    ...(location.profile === undefined ? {} : { profile: location.profile }),
    ...(location.forcePathStyle ? { forcePathStyle: true } : {}),
    maxAttempts: limits.attempts,
    retryStrategy: patientRetries(limits),
    // As the SDK creates them, with the proxies of this process (`useProxies`).
    requestHandler: {
      connectionTimeout: limits.connectMs,
      socketTimeout: limits.silenceMs,
      httpAgent: new http.Agent({ keepAlive: true, maxSockets, proxyEnv: usedProxies() }),
      httpsAgent: new https.Agent({ keepAlive: true, maxSockets, proxyEnv: usedProxies() }),
    },
    // Other servers do not support the checksums that the SDK adds by default. The request's signature covers the body.
    requestChecksumCalculation: 'WHEN_REQUIRED',
    responseChecksumValidation: 'WHEN_REQUIRED',
  };
}

/** The region of AWS_REGION or the AWS configuration files. Servers that need an endpoint rarely use the region. */
async function regionOfEnvironment(location: S3Location): Promise<string> {
  try {
    return await new (aws().S3Client)(location.profile === undefined ? {} : { profile: location.profile }).config.region();
  } catch (cause) {
    if (location.endpoint !== undefined) return 'us-east-1';
    throw new CairnError(
      'invalid_configuration',
      `No region is known for ${location.bucket}: add ?region=... to the storage URL, or set AWS_REGION.`,
      {
        cause,
      },
    );
  }
}

/**
 * Retries a request with growing pauses whenever it may succeed. Unlike the SDK's own strategies it has no budget
 * that all requests share: an outage of seconds that hits many parts at once would exhaust it and fail them all.
 */
function patientRetries({ attempts, pauseMs, maxPauseMs }: S3Limits): Exclude<S3ClientConfig['retryStrategy'], undefined> {
  const token = (count: number, delay: number) => ({ getRetryCount: () => count, getRetryDelay: () => delay });
  return {
    mode: 'standard',
    acquireInitialRetryToken: async () => token(0, 0),
    async refreshRetryTokenForRetry(last, { errorType }) {
      const count = last.getRetryCount();
      if (errorType === 'CLIENT_ERROR' || count + 1 >= attempts) throw new Error('the request is not sent again');
      return token(count + 1, backoff({ attempt: count, baseMs: pauseMs, maxMs: maxPauseMs }));
    },
    recordSuccess() {},
  };
}

const mebibyte = 2 ** 20;

/** Sizes, counts and times; tests use smaller ones. */
export type S3Limits = {
  /** Of an upload's parts; a smaller object is one request. Parts in memory: `parallelParts` and two more. */
  partBytes: number;
  parallelParts: number;
  /** Of a copy's parts; one request copies a smaller object. */
  copyPartBytes: number;
  /** Names in one page of a listing, and in one request to remove: at most 1,000. */
  pageKeys: number;
  /** Of each request, including the first. */
  attempts: number;
  /** Before a retry: doubles from the first to the second. */
  pauseMs: number;
  maxPauseMs: number;
  connectMs: number;
  /** A request on which nothing is sent or received for this long is ended. */
  silenceMs: number;
  /** Of one read whose stream breaks without any data. */
  fruitlessResumes: number;
  /** Time to remove an upload that failed; otherwise the sweep finds it. */
  abortMs: number;
};

/** S3 allows no more parts, and only the last may be smaller than 5 MiB. */
export const maxParts = 10_000;

export const defaultS3Limits: S3Limits = {
  partBytes: 8 * mebibyte,
  parallelParts: 4,
  // One request can copy 5 GiB, but a server that copies byte by byte sends nothing in the meantime.
  copyPartBytes: 512 * mebibyte,
  pageKeys: 1000,
  // Pauses of 11 to 23 seconds in total: enough to wait for a server that restarts.
  attempts: 8,
  pauseMs: 200,
  maxPauseMs: 10_000,
  connectMs: 5_000,
  silenceMs: 60_000,
  fruitlessResumes: 5,
  abortMs: 5_000,
};

/** The location of an S3 store, from its URL. Credentials are never part of it. */
export type S3Location = {
  /** As given to `openStore`. */
  url: string;
  bucket: string;
  /** Before every key, with a trailing slash; '' for the whole bucket. */
  prefix: string;
  /** Undefined: the endpoint of the environment or the AWS configuration files, else AWS itself. */
  endpoint: string | undefined;
  region: string | undefined;
  /** Of the AWS configuration files, with its own credentials; undefined: those of the environment. */
  profile: string | undefined;
  /** The bucket in the path, not in the host name: what most servers other than AWS require. */
  forcePathStyle: boolean;
};

const parameters = ['endpoint', 'region', 'profile', 'forcePathStyle'] as const;
type Parameter = (typeof parameters)[number];

/**
 * Parses `s3://bucket/prefix?endpoint=https://host:port&region=name&profile=name&forcePathStyle=true`; only the bucket is required.
 * @throws CairnError `invalid_configuration` that names the problem, without possible secrets.
 */
export function parseS3Location(url: URL): S3Location {
  if (url.username !== '' || url.password !== '') {
    throw fault(
      'has credentials before the bucket: URLs end up in logs. Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile or a role instead',
    );
  }
  if (url.port !== '') throw fault(`has a port after the bucket: name the server with ?endpoint=http://host:${url.port}`);
  if (url.hash !== '') throw fault('contains #: write it as %23');
  const bucket = url.hostname;
  if (!/^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/.test(bucket)) {
    throw fault(`names the bucket ${JSON.stringify(bucket)}: a bucket name has 3 to 63 of a-z, 0-9, dot and dash`);
  }
  const values = readParameters(url.searchParams);
  const endpoint = values.endpoint === undefined ? undefined : readEndpoint(values.endpoint);
  return {
    url: url.href,
    bucket,
    prefix: readPrefix(url.pathname),
    endpoint,
    region: values.region === undefined ? undefined : readRegion(values.region),
    profile: values.profile === undefined ? undefined : readProfile(values.profile),
    forcePathStyle: values.forcePathStyle === undefined ? endpoint !== undefined : readBoolean(values.forcePathStyle),
  };
}

function readParameters(query: URLSearchParams): Partial<Record<Parameter, string>> {
  const values: Partial<Record<Parameter, string>> = {};
  for (const name of query.keys()) {
    const known = parameters.find((parameter) => parameter === name);
    if (known === undefined) {
      const hint = /key|secret|token|password|credential/i.test(name)
        ? ': credentials come from the environment (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile or a role), because URLs end up in logs'
        : `: the parameters are ${parameters.join(', ')}`;
      throw fault(`has the parameter ${JSON.stringify(name)}${hint}`);
    }
    const [value, ...others] = query.getAll(name);
    if (value === undefined || others.length > 0) throw fault(`has the parameter ${name} more than once`);
    values[known] = value;
  }
  return values;
}

function readPrefix(path: string): string {
  try {
    const prefix = objectPrefix(decodeURIComponent(path).replace(/^\//, '').replace(/\/$/, ''));
    return prefix === '' ? '' : `${prefix}/`;
  } catch (cause) {
    throw fault(`has the path ${JSON.stringify(path)}, which is not valid before a key`, cause);
  }
}

function readEndpoint(text: string): string {
  const endpoint = URL.canParse(text) ? new URL(text) : undefined;
  if (endpoint === undefined || !/^https?:$/.test(endpoint.protocol))
    throw fault('has an endpoint that is not an http:// or https:// address');
  if (endpoint.username !== '' || endpoint.password !== '') {
    throw fault('has credentials in its endpoint: URLs end up in logs. Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY instead');
  }
  if (endpoint.search !== '' || endpoint.hash !== '') throw fault('has an endpoint with a query: write host and port only');
  return endpoint.href.replace(/\/$/, '');
}

function readRegion(text: string): string {
  if (!/^[a-z0-9-]{1,64}$/.test(text)) throw fault(`has the region ${JSON.stringify(text)}: a region has only a-z, 0-9 and dash`);
  return text;
}

function readProfile(text: string): string {
  if (!/^[\w.@+-]{1,64}$/.test(text))
    throw fault('has a profile that is not the name of one: a name has only letters, digits, _, ., @, + and -');
  return text;
}

function readBoolean(text: string): boolean {
  if (text !== 'true' && text !== 'false') throw fault(`has forcePathStyle=${JSON.stringify(text)}: it must be true or false`);
  return text === 'true';
}

/** The URL itself is not part of the message: it may be the secret. */
function fault(what: string, cause?: unknown): CairnError {
  return new CairnError('invalid_configuration', `The s3:// storage URL ${what}.`, cause === undefined ? {} : { cause });
}
