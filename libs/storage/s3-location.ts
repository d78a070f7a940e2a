import { CairnError } from '@cairn/contract';
import { objectPrefix } from './object-store.ts';

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
