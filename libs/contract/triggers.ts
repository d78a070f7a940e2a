import { z } from 'zod';
import { idOf, safeName, timestamp } from './names.ts';
import { onNewer, runSource } from './origin.ts';
import { page, pageQuery, submitRequest } from './rest.ts';
import { writtenText } from './text.ts';

// Triggers: deliveries of a code host, or of another program, start runs.

/** Who delivers, which decides how deliveries are signed. `standard`: any program that signs as Standard Webhooks says. */
export const hookProvider = z.enum(['github', 'gitlab', 'standard']);
export type HookProvider = z.infer<typeof hookProvider>;

/** The events of code hosts. A merge request of GitLab is a pull request. Other programs may have events of their own. */
export const codeHostEvents = ['push', 'tag', 'pull_request'] as const;
const eventName = z.string().regex(/^[a-z][a-z0-9_.-]{0,62}$/, 'use lower case letters, digits, dot, dash and underscore, first a letter');

/** `*` is anything but a slash, `**` any folders, `?` one character. With `!` first, what matched before is taken out again. */
const pattern = writtenText(200, { least: 1 });
const patterns = z.array(pattern).max(50).default([]);

/** Which deliveries start a run; an empty list allows all. */
export const triggerFilter = z.strictObject({
  events: z
    .array(eventName)
    .min(1)
    .max(16)
    .default(['push'])
    .describe('`push`, `tag`, `pull_request`, and with the provider `standard` any others.'),
  branches: patterns.describe('Patterns of branches: of a push, or that a pull request would be merged into.'),
  tags: patterns.describe('Patterns of tags.'),
  paths: patterns.describe(
    'Patterns of changed files, one of which must match. Only for pushes: deliveries about pull requests list no files.',
  ),
  labels: z
    .array(writtenText(100, { least: 1 }))
    .max(50)
    .default([])
    .describe('A pull request must have one of these labels; adding it starts a run too.'),
});
export type TriggerFilter = z.infer<typeof triggerFilter>;

/** What a group's name is made from: `{trigger}`, `{repository}`, `{event}`, and `{subject}`: the branch, the tag or `pr-NUMBER`. */
const groupTemplate = z
  .string()
  .regex(
    /^(?:[A-Za-z0-9._-]|\{(?:trigger|repository|event|subject)\}){1,200}$/,
    'use letters, digits, dot, dash, underscore, {trigger}, {repository}, {event} and {subject}',
  );
export const defaultGroupTemplate = '{trigger}-{subject}';

/** The submission of each run, without what the delivery gives. */
export const triggeredRun = submitRequest.omit({ name: true, source: true, group: true, onNewer: true, noReuse: true });

/** POST /v1/triggers. */
export const triggerRequest = z.strictObject({
  name: safeName.describe('Part of the address that deliveries are sent to; unique in the installation.'),
  provider: hookProvider,
  run: triggeredRun,
  filter: triggerFilter.prefault({}),
  group: groupTemplate
    .nullable()
    .default(defaultGroupTemplate)
    .describe('The concurrency group of its runs, from {trigger}, {repository}, {event} and {subject}; null: none.'),
  onNewer: onNewer.default('cancel').describe('What becomes of a run when a newer one enters its group: by default it is cancelled.'),
});
export type TriggerRequest = z.infer<typeof triggerRequest>;

export const triggerView = z.object({
  id: idOf('trigger'),
  name: z.string(),
  provider: hookProvider,
  owner: z.string(),
  run: triggeredRun,
  filter: triggerFilter,
  group: z.string().nullable(),
  onNewer,
  /** The path of its deliveries, below the address of the service. */
  path: z.string(),
  createdAt: timestamp,
  /** The newest delivery with a right signature. */
  lastDeliveryAt: timestamp.nullable(),
});
export type TriggerView = z.infer<typeof triggerView>;
export const triggerPage = page(triggerView);

/** Which deliveries start a run, for people: `events push; branches main, release/*`. */
export const filterText = (filter: TriggerFilter): string =>
  (['events', 'branches', 'tags', 'paths', 'labels'] as const)
    .flatMap((kind) => (filter[kind].length > 0 ? [`${kind} ${filter[kind].join(', ')}`] : []))
    .join('; ');

/** The concurrency group of a trigger's runs, for people. */
export const triggerGroupText = ({ group, onNewer }: Pick<TriggerView, 'group' | 'onNewer'>): string =>
  group === null ? 'none' : `${group}, a newer run ${onNewer === 'cancel' ? 'cancels the older' : 'waits'}`;

/** The secret is shown once: when it is made. */
export const triggerCreated = triggerView.extend({ secret: z.string() });

/** POST /v1/triggers/:name/rotate. */
export const rotateRequest = z.strictObject({
  keepHours: z.number().min(0).max(168).default(24).describe('How long the earlier secret is accepted too; 0 ends it at once.'),
});

/**
 * What became of a delivery. `accepted`: a run is about to start. `held`: it is from a fork, and waits for a person. `failed`: the run
 * could not be started. `refused`: its signature is wrong, or it cannot be read.
 */
export const deliveryOutcome = z.enum(['accepted', 'started', 'ignored', 'held', 'failed', 'refused']);
export type DeliveryOutcome = z.infer<typeof deliveryOutcome>;

/** The answer to a delivery. `repeated`: it was delivered before, and `delivery` is the first. */
export const hookAnswer = z.object({
  delivery: idOf('hookDelivery'),
  outcome: z.enum([...deliveryOutcome.options, 'repeated']),
  reason: z.string(),
  runId: idOf('run').nullable(),
});
export type HookAnswer = z.infer<typeof hookAnswer>;

export const deliveryView = z.object({
  id: idOf('hookDelivery'),
  /** The sender's id of it; null where it gives none. */
  key: z.string().nullable(),
  event: z.string(),
  /** What it is about, such as `push to main`. */
  subject: z.string(),
  source: runSource.nullable(),
  outcome: deliveryOutcome,
  reason: z.string(),
  runId: idOf('run').nullable(),
  receivedAt: timestamp,
  /** How often it was delivered again. */
  repeats: z.number().int(),
  releasedBy: z.string().nullable(),
});
export type DeliveryView = z.infer<typeof deliveryView>;
export const deliveryPage = page(deliveryView);
export const deliveryQuery = pageQuery.extend({ outcome: deliveryOutcome.optional() });
