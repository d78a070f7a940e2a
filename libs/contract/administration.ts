import { z } from 'zod';
import { idOf, safeName, timestamp } from './names.ts';
import { page, pageQuery } from './rest.ts';
import { type TokenRole, tokenRole } from './states.ts';
import { writtenText } from './text.ts';

// The installation: tokens, the fleet, the audit.

export const tokenRequest = z.strictObject({ name: safeName, role: tokenRole, expiresInDays: z.number().positive().max(3650).optional() });
export const tokenView = z.object({
  id: idOf('token'),
  name: z.string(),
  role: tokenRole,
  createdAt: timestamp,
  expiresAt: timestamp.nullable(),
  lastUsedAt: timestamp.nullable(),
});
export type TokenView = z.infer<typeof tokenView>;
/** The secret is shown once, when the token is created. */
export const tokenCreated = tokenView.extend({ secret: z.string() });
export const tokenList = z.object({ items: z.array(tokenView) });

/** The keys that seal secrets at rest. Neither a key nor a secret is ever shown. */
export const secretKeyList = z.object({
  items: z.array(
    z.object({
      keyId: z.string(),
      /** `seals`: the first of CAIRN_SECRETS_KEYS. `opens`: another of them. `missing`: none of them, so that its secrets cannot be used. */
      state: z.enum(['seals', 'opens', 'missing']),
      /** Stored secrets that are sealed with it. */
      secrets: z.number().int(),
    }),
  ),
});
export type SecretKeyList = z.infer<typeof secretKeyList>;
/** A machine of a pool, and what is free on it. */
export const poolNode = z.object({
  name: z.string(),
  /** Null for a pool whose attempts need no GPU. */
  gpus: z.object({ total: z.number().int(), free: z.number().int(), unhealthy: z.number().int() }).nullable(),
  /** Attempts that could start on it. */
  fits: z.number().int(),
  /** Why it takes none, such as `cordoned`; null where it may be used. */
  refusal: z.string().nullable(),
});
export type PoolNode = z.infer<typeof poolNode>;

/** What the machines of a pool can hold now. */
export const poolRoom = z.object({
  /** Attempts that could start. */
  fits: z.number().int(),
  /** Ended attempts that still hold their slots, which become free in a moment. */
  leaving: z.number().int(),
  /** For people, one per machine: `node a: 3 of 8 GPUs free`. */
  sentences: z.array(z.string()),
  /** The machines as data; none in rooms that an earlier release recorded. */
  nodes: z.array(poolNode).default([]),
});
export type PoolRoom = z.infer<typeof poolRoom>;

export const fleetView = z.object({
  leader: z.object({ holder: z.string(), epoch: z.number().int(), expiresAt: timestamp }).nullable(),
  pools: z.array(
    z.object({
      name: z.string(),
      executor: z.string(),
      slots: z.number().int(),
      busy: z.number().int(),
      waiting: z.number().int(),
      /** As the leader last saw it; null for pools that have slots only. */
      room: poolRoom.omit({ leaving: true }).nullable(),
    }),
  ),
});
export type FleetView = z.infer<typeof fleetView>;

/** Most attempts and most waiting steps that the work of the fleet lists. */
export const maxFleetWork = 200;

const workOf = {
  run: z.object({ id: idOf('run'), name: z.string() }),
  step: z.string(),
  owner: z.string(),
};

export const servedQueue = z.enum(['launch', 'tasks', 'finalize', 'judge', 'deliver']);

/** GET /v1/fleet/work: who holds slots, what waits for them and why, and how far behind the queues are. */
export const fleetWork = z.object({
  /** Attempts that hold slots, the longest first. */
  holders: z.array(
    z.object({
      ...workOf,
      attemptId: idOf('attempt'),
      pool: z.string(),
      slots: z.number().int(),
      /** Host and process, container or pod; null until it is known. */
      place: z.string().nullable(),
      isStopping: z.boolean(),
      since: timestamp,
    }),
  ),
  holdersTotal: z.number().int(),
  /** Steps that wait for slots, in the order of admission: the largest priority, then the longest wait first. */
  waiting: z.array(
    z.object({
      ...workOf,
      /** `gpu` or `tasks`. */
      pool: z.string(),
      slots: z.number().int(),
      priority: z.number().int(),
      /** Why it waits: the same sentence as on the page of its run. */
      sentence: z.string(),
      since: timestamp,
    }),
  ),
  waitingTotal: z.number().int(),
  queues: z.array(
    z.object({
      name: servedQueue,
      /** What its consumers have still to do, by the rows, and when the oldest of it was ready. */
      depth: z.number().int(),
      oldestAt: timestamp.nullable(),
      /** Entries that the controller has not handed to the queue yet. */
      undelivered: z.number().int(),
    }),
  ),
});
export type FleetWork = z.infer<typeof fleetWork>;

export const auditEntry = z.object({
  at: timestamp,
  actor: z.string(),
  /** Id of the token, since its name may be given to another token later; null in entries written before it was recorded. */
  tokenId: z.string().nullable().default(null),
  /** Client address; null in entries written before it was recorded. */
  address: z.string().nullable().default(null),
  action: z.string(),
  target: z.string(),
  /** The changed fields of the target, before and after; null where the target did not exist or no longer exists. */
  before: z.record(z.string(), z.unknown()).nullable().default(null),
  after: z.record(z.string(), z.unknown()).nullable().default(null),
  details: z.record(z.string(), z.unknown()),
});
export const auditPage = page(auditEntry);
export type AuditEntry = z.infer<typeof auditEntry>;

/** The fields that are not the same before and after, as text; null where there was, or is, none. */
export function auditChanges({
  before,
  after,
}: Pick<AuditEntry, 'before' | 'after'>): { name: string; was: string | null; is: string | null }[] {
  const names = [...new Set([...Object.keys(before ?? {}), ...Object.keys(after ?? {})])];
  return names.flatMap((name) => {
    const [was, is] = [auditText(before?.[name]), auditText(after?.[name])];
    return was === is ? [] : [{ name, was, is }];
  });
}

const auditText = (value: unknown): string | null =>
  value === undefined || value === null ? null : typeof value === 'string' ? value : JSON.stringify(value);

/** GET /v1/audit. */
export const auditQuery = pageQuery.extend({
  actor: writtenText(63, { least: 1 }).optional().describe('The name of the token.'),
  action: writtenText(63, { least: 1 }).optional().describe('Such as `run.cancel`.'),
  target: writtenText(100, { least: 1 }).optional().describe('The id or the name of what was changed.'),
});
export type AuditQuery = z.infer<typeof auditQuery>;

// Who calls, and what they may do.

/** What a caller can do, and the role that it takes: the API checks it, and pages hide what the role does not allow. */
export const callerActions = {
  'run.submit': 'submitter',
  'run.cancel': 'submitter',
  'run.retry': 'submitter',
  // Those of another owner: admin.
  'schedule.manage': 'submitter',
  'run.release': 'admin',
  'run.pin': 'submitter',
  'run.annotate': 'submitter',
  'dataset.add': 'submitter',
  'picture.search': 'submitter',
  'weights.import': 'submitter',
  'garbage.collect': 'admin',
  'delivery.manage': 'admin',
  // Those of another owner: admin.
  'trigger.manage': 'submitter',
  'delivery.release': 'submitter',
  'budget.manage': 'admin',
  'retention.manage': 'admin',
  'token.manage': 'admin',
  'secret.manage': 'admin',
  'view.save': 'viewer',
  'view.share': 'submitter',
  'audit.read': 'admin',
} as const satisfies Record<string, TokenRole>;
export type CallerAction = keyof typeof callerActions;
export const callerAction = z.enum(Object.keys(callerActions) as [CallerAction, ...CallerAction[]]);

/** The actions of a role, which includes those of the roles below it. */
export const actionsOfRole = (role: TokenRole): CallerAction[] =>
  callerAction.options.filter((action) => tokenRole.options.indexOf(role) >= tokenRole.options.indexOf(callerActions[action]));

/** Why a caller may not change something of an owner: everyone changes their own, and admins all. Null when they may. */
export const whyNotOwner = (owner: string, caller: { name: string; role: TokenRole }): string | null =>
  owner === caller.name || caller.role === 'admin' ? null : `it belongs to ${owner}; it takes the token ${owner}, or one of the role admin`;

/** POST /v1/session: a browser exchanges a token for a cookie that its scripts cannot read. */
export const sessionRequest = z.strictObject({ token: writtenText(500, { least: 1 }) });

export const meView = z.object({
  tokenId: idOf('token'),
  tokenName: z.string(),
  role: tokenRole,
  /** When the token or the session ends, whichever is first; null for a token without an end. */
  expiresAt: timestamp.nullable(),
  actions: z.array(callerAction),
});
export type MeView = z.infer<typeof meView>;

/** GET /version.json: `build` changes with every build of the dashboard, so a page that was loaded before can ask for a reload. */
export const versionView = z.object({ build: z.string() });
