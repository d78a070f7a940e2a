import { CairnError } from '@cairn/contract';
import { objectPrefix } from './object-key.ts';

/** Where an S3 store lies, as its URL says it. Credentials are never a part of it. */
export type S3Location = {
  /** As given to `openStore`. */
  url: string;
  bucket: string;
  /** Before every key, with a slash at its end; '' for the whole bucket. */
  prefix: string;
  /** Undefined: what the environment or the AWS configuration files name, else AWS itself. */
  endpoint: string | undefined;
  region: string | undefined;
  /** The bucket in the path, not in the host's name: what most servers other than AWS want. */
  forcePathStyle: boolean;
};

const parameters = ['endpoint', 'region', 'forcePathStyle'] as const;
type Parameter = (typeof parameters)[number];

/**
 * Reads `s3://bucket/prefix?endpoint=https://host:port&region=name&forcePathStyle=true`, of which only the bucket is needed.
 * @throws CairnError `invalid_configuration` that names the fault, without what may be a secret.
 */
export function parseS3Location(url: URL): S3Location {
  if (url.username !== '' || url.password !== '') {
    throw fault(
      'has credentials before the bucket: URLs end up in logs. Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile or a role instead',
    );
  }
  if (url.port !== '') throw fault(`has a port after the bucket: name the server with ?endpoint=http://host:${url.port}`);
  if (url.hash !== '') throw fault('has a # in it: write it as %23');
  const bucket = url.hostname;
  if (!/^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/.test(bucket)) {
    throw fault(`names the bucket ${JSON.stringify(bucket)}: a bucket has 3 to 63 of a-z, 0-9, dot and dash`);
  }
  const values = readParameters(url.searchParams);
  const endpoint = values.endpoint === undefined ? undefined : readEndpoint(values.endpoint);
  return {
    url: url.href,
    bucket,
    prefix: readPrefix(url.pathname),
    endpoint,
    region: values.region === undefined ? undefined : readRegion(values.region),
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
        : `: it may have ${parameters.join(', ')}`;
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
    throw fault(`has the path ${JSON.stringify(path)}, which cannot be before a key`, cause);
  }
}

function readEndpoint(text: string): string {
  const endpoint = URL.canParse(text) ? new URL(text) : undefined;
  if (endpoint === undefined || !/^https?:$/.test(endpoint.protocol)) throw fault('has an endpoint that is no http:// or https:// address');
  if (endpoint.username !== '' || endpoint.password !== '') {
    throw fault('has credentials in its endpoint: URLs end up in logs. Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY instead');
  }
  if (endpoint.search !== '' || endpoint.hash !== '') throw fault('has an endpoint with a query: write host and port only');
  return endpoint.href.replace(/\/$/, '');
}

function readRegion(text: string): string {
  if (!/^[a-z0-9-]{1,64}$/.test(text)) throw fault(`has the region ${JSON.stringify(text)}: a region is of a-z, 0-9 and dash`);
  return text;
}

function readBoolean(text: string): boolean {
  if (text !== 'true' && text !== 'false') throw fault(`has forcePathStyle=${JSON.stringify(text)}: it is true or false`);
  return text === 'true';
}

/** The URL itself stays out of the message: it may be the secret. */
function fault(what: string, cause?: unknown): CairnError {
  return new CairnError('invalid_configuration', `The s3:// storage URL ${what}.`, cause === undefined ? {} : { cause });
}
