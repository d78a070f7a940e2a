import { z } from 'zod';
import { datasetReference, safeName, timestamp } from './names.ts';
import { writtenText } from './text.ts';

// Where a run comes from: who or what started it, from which commit, and how it is labelled.

/** Who or what started a run. */
export const runOrigin = z.discriminatedUnion('kind', [
  /** A call of a person or of a program, such as a CI job. The owner says whose. */
  z.object({ kind: z.literal('person') }),
  /** A delivery of a code host or another program to a trigger. */
  z.object({ kind: z.literal('trigger'), trigger: safeName, delivery: writtenText(200, { least: 1 }) }),
  /** A schedule, at the time for which the run was due, and the zone of its clock. */
  z.object({ kind: z.literal('schedule'), schedule: safeName, dueAt: timestamp, zone: writtenText(64, { least: 1 }).default('UTC') }),
  /** A new version of a dataset, to which the schedule is bound. */
  z.object({ kind: z.literal('dataset'), dataset: datasetReference, schedule: safeName }),
  /** The gate of a run, which scores the version that it compares with on the data of that run. */
  z.object({ kind: z.literal('gate'), run: writtenText(100, { least: 1 }), model: safeName, version: z.number().int() }),
]);
export type RunOrigin = z.infer<typeof runOrigin>;
export const byPerson: RunOrigin = { kind: 'person' };

/** What started a run, for people. */
export function originText(origin: RunOrigin): string {
  switch (origin.kind) {
    case 'person':
      return 'a call';
    case 'trigger':
      return `the trigger ${origin.trigger}`;
    case 'schedule':
      return `the schedule ${origin.schedule}, due ${timeInZone(origin.dueAt, origin.zone)}`;
    case 'dataset':
      return `the schedule ${origin.schedule}, for the new dataset ${origin.dataset}`;
    case 'gate':
      return `the gate of ${origin.run}, to evaluate ${origin.model}@${origin.version} on the same data`;
  }
}

/** A time as clocks in the zone show it: `Mon 2027-01-04 03:00 Europe/Zurich`; in UTC if the zone is not known here. */
export function timeInZone(time: string, zone: string): string {
  const options = { weekday: 'short', year: 'numeric', month: '2-digit', day: '2-digit', hour: '2-digit', minute: '2-digit' } as const;
  const known = isZone(zone) ? zone : 'UTC';
  const parts = new Intl.DateTimeFormat('en-GB', { ...options, timeZone: known }).formatToParts(new Date(time));
  const of = (type: Intl.DateTimeFormatPartTypes): string => parts.find((part) => part.type === type)?.value ?? '';
  return `${of('weekday')} ${of('year')}-${of('month')}-${of('day')} ${of('hour')}:${of('minute')} ${known}`;
}

/** Whether a time zone of the IANA database is known here. */
export function isZone(zone: string): boolean {
  try {
    new Intl.DateTimeFormat('en', { timeZone: zone });
    return true;
  } catch {
    return false;
  }
}

/** A page of a code host, for a link: printable ASCII, as URLs are. */
const webAddress = z.string().regex(/^https?:\/\/[!-~]{1,1990}$/, 'use an address that begins with https:// or http://');

/** No segment of it leads elsewhere: it becomes part of addresses. */
export const isRepositoryPath = (path: string): boolean => path.split('/').every((segment) => !['', '.', '..'].includes(segment));
/** `owner/name`, or the path of a project. */
export const repositoryPath = writtenText(300, { least: 1 }).refine(
  isRepositoryPath,
  'use a path such as owner/name, without empty parts, . and ..',
);

/** The commit that a run was started for. */
export const runSource = z.strictObject({
  provider: z.enum(['github', 'gitlab', 'other']),
  repository: repositoryPath,
  commit: z.string().regex(/^[0-9a-f]{7,64}$/, 'use 7 to 64 hexadecimal digits in lower case'),
  /** The branch or tag; for a pull request, the branch that it would merge. */
  ref: writtenText(255, { least: 1 }),
  /** The number of the pull or merge request. */
  pullRequest: z.number().int().min(1).max(2_147_483_647).nullable(),
  /** The page of the pull request, or of the commit. */
  url: webAddress.nullable(),
});
export type RunSource = z.infer<typeof runSource>;

/** A commit in a few words: `1f2e3d4c5b6a of team/landmarks, main`. */
export const commitText = ({ commit, repository, ref }: Pick<RunSource, 'commit' | 'repository' | 'ref'>): string =>
  `${commit.slice(0, 12)} of ${repository}, ${ref}`;

const labelWord = '[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?';
const labelPrefix = '(?:[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?/)?';

/** Keys and values as Kubernetes has them: `team=search`, `example.com/tier=nightly`; a value may be empty. */
export const labelKey = z
  .string()
  .regex(
    new RegExp(`^${labelPrefix}${labelWord}$`),
    'use letters, digits, dot, dash and underscore, with a letter or digit at both ends, at most 63 characters; a prefix such as example.com/ may come first',
  );
export const labelValue = z
  .string()
  .regex(
    new RegExp(`^(?:${labelWord})?$`),
    'use letters, digits, dot, dash and underscore, with a letter or digit at both ends, at most 63 characters',
  );
export const maxLabels = 16;
export const runLabels = z
  .record(labelKey, labelValue)
  .refine((labels) => Object.keys(labels).length <= maxLabels, `at most ${maxLabels} labels`);
export type RunLabels = z.infer<typeof runLabels>;

/** A label in a query or an option: `key=value`. */
export const labelText = z
  .string()
  .regex(new RegExp(`^${labelPrefix}${labelWord}=(?:${labelWord})?$`), 'use KEY=VALUE, such as team=search');

/** `label:KEY=VALUE`: the runs that a budget is for. */
export const budgetLabelPattern = new RegExp(`^label:${labelPrefix}${labelWord}=(?:${labelWord})?$`);
/** `label:KEY`: what the ledger adds up by. */
export const labelGroupingPattern = new RegExp(`^label:${labelPrefix}${labelWord}$`);

/** The labels of texts such as `team=search`; of a repeated key, the last one counts. */
export const labelsOf = (texts: readonly string[]): RunLabels =>
  Object.fromEntries(texts.map((text) => [text.slice(0, text.indexOf('=')), text.slice(text.indexOf('=') + 1)]));

/** The reverse of {@link labelsOf}. */
export const labelTexts = (labels: RunLabels): string[] => Object.entries(labels).map(([key, value]) => `${key}=${value}`);

/** What becomes of a run that is running when a newer one enters its group: the newer one waits for it, or it is cancelled. */
export const onNewer = z.enum(['queue', 'cancel']);
export type OnNewer = z.infer<typeof onNewer>;

/** Why a run was cancelled, for programs; `cause` says it in words. */
export const cancelCause = z.enum([
  'person',
  /** A newer run of its group took its place. */
  'superseded',
]);
export type CancelCause = z.infer<typeof cancelCause>;

/** What a held run waits for, for programs. */
export const holdCause = z.enum([
  /** For the run of its group that runs. */
  'group',
  /** For a person: a budget of it is spent. */
  'budget',
]);
export type HoldCause = z.infer<typeof holdCause>;

/** The fields of a run that say where it comes from. */
export const runContext = z.object({
  origin: runOrigin,
  source: runSource.nullable(),
  labels: runLabels,
  /** Its concurrency group: of the runs of a group, one runs its steps and at most one waits. */
  group: safeName.nullable(),
  onNewer,
});
export type RunContext = z.infer<typeof runContext>;
