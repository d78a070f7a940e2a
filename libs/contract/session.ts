import { z } from 'zod';
import { idOf, timestamp } from './names.ts';
import type { TokenRole } from './states.ts';
import { tokenRole } from './states.ts';
import { writtenText } from './text.ts';

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
