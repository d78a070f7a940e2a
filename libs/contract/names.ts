import { z } from 'zod';

/** A name that is safe in a path, a URL or a Kubernetes label: no slash, no leading dot, at most 63 characters. */
export const safeName = z
  .string()
  .regex(
    /^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/,
    'use letters, digits, dot, dash and underscore, starting with a letter or digit, at most 63 characters',
  );

/** The name of a file in a folder: it can neither leave the folder nor be hidden. */
export const fileName = z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,254}$/, 'use the name of a file, without a folder');

/** A dataset: its newest version, or the one named. The number fits the database column. */
export const datasetReference = z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,62}(@[0-9]{1,9})?$/, 'name or name@version');

/** A name that moves between the versions of a model, such as `production`. Not a number, which would be a version. */
export const aliasName = z
  .string()
  .regex(/^(?![0-9]+$)[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/, 'use a name that is not a number, such as production, at most 63 characters');

/** NAME, NAME@VERSION or NAME@ALIAS. */
export const modelReferencePattern = /^[A-Za-z0-9][A-Za-z0-9._-]{0,62}(@([0-9]{1,9}|(?![0-9]+$)[A-Za-z0-9][A-Za-z0-9._-]{0,62}))?$/;

/**
 * An evaluation as its users name it: its id, the id of its step or run, RUN (the step `evaluate`, or the only evaluation), RUN/STEP, or a
 * registered MODEL@VERSION.
 */
export const evaluationReference = z
  .string()
  .regex(
    /^[A-Za-z0-9][A-Za-z0-9._-]{0,62}([/@][A-Za-z0-9][A-Za-z0-9._-]{0,62})?$/,
    'use the id of an evaluation, step or run, RUN, RUN/STEP, MODEL@VERSION or MODEL@ALIAS',
  );

/** The prefix of an id says what it identifies, such as `run_` or `stp_`. */
export const idPrefixes = {
  run: 'run',
  step: 'stp',
  attempt: 'att',
  artifact: 'art',
  checkpoint: 'ckp',
  dataset: 'dst',
  token: 'tok',
  model: 'mdl',
  weights: 'wts',
  schedule: 'sch',
  webhook: 'whk',
  codeHost: 'chs',
  secret: 'sec',
  trigger: 'trg',
  hookDelivery: 'hdl',
} as const;
export type IdKind = keyof typeof idPrefixes;

/** An id: prefix, underscore, 26 characters of a ULID in lower case (sortable by time, safe in paths and Kubernetes names). */
export const idOf = (kind: IdKind) =>
  z.string().regex(new RegExp(`^${idPrefixes[kind]}_[0-9a-hjkmnp-tv-z]{26}$`), `an id of the form ${idPrefixes[kind]}_...`);

/** Times on a wire are ISO 8601 in UTC, never seconds since the epoch. */
export const timestamp = z.iso.datetime({ offset: true }).max(64);

export const sha256Hex = z.string().regex(/^[0-9a-f]{64}$/, '64 hexadecimal digits');

// Numbers as PostgreSQL stores them. JSON allows larger ones.

/** The largest `integer` of PostgreSQL. */
export const largestInt4 = 2 ** 31 - 1;

/** A count, stored as `integer`. */
export const wholeNumber = z.number().int().min(0).max(largestInt4);

/** A size or an offset in bytes, stored as `bigint`; JavaScript counts exactly up to 2^53. */
export const byteCount = z.number().int().min(0);

/** The largest offset at which a log chunk may begin, so that the ends of the chunk and of a page are exact too. */
export const largestLogOffset = 2 ** 52;

/** The name of the manifest under an artifact's prefix; written last, it proves that all other files exist. */
export const manifestName = 'manifest.json';

const maxPartBytes = 200;
const maxKeyBytes = 1024;

/**
 * What is wrong with a key of the object storage, or null. Its parts are separated by single slashes; none is empty, starts with a dot (the
 * store's own files, `.` and `..`) or contains control characters or a backslash. At most 1,024 bytes, as in S3.
 */
export function objectKeyFault(key: string): string | null {
  if (key === '') return 'is empty';
  if (bytesOf(key) > maxKeyBytes) return `is longer than ${maxKeyBytes} bytes`;
  if (key.startsWith('/')) return 'is absolute';
  if (key.includes('\\')) return 'contains a backslash';
  if (/\p{Cc}/u.test(key)) return 'contains a control character';
  if (/\p{Cs}/u.test(key)) return 'is not valid Unicode';
  for (const part of key.split('/')) {
    if (part === '') return 'contains an empty part';
    if (part.startsWith('.')) return `contains the part ${JSON.stringify(part)}, which starts with a dot`;
    if (bytesOf(part) > maxPartBytes) return `contains a part longer than ${maxPartBytes} bytes`;
  }
  return null;
}

/** The full key of an object. */
export const objectKeyText = z.string().check((context) => {
  const fault = objectKeyFault(context.value);
  if (fault !== null) context.issues.push({ code: 'custom', message: `the key ${fault}`, input: context.value });
});

/** The name of a file within its artifact: a relative path, other than the manifest. */
export const artifactFileName = objectKeyText.refine((name) => name !== manifestName, `${manifestName} is written by the control plane`);

const bytesOf = (text: string): number => new TextEncoder().encode(text).length;
