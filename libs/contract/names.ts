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
