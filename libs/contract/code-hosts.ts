import { z } from 'zod';
import { idOf, safeName, timestamp } from './names.ts';
import { outgoingDeliveryView, serviceUrl } from './outgoing-deliveries.ts';

// Code hosts that get reports about runs: a commit status, and one comment a pull request.

export const codeHostProvider = z.enum(['github', 'gitlab']);
export type CodeHostProvider = z.infer<typeof codeHostProvider>;

/** A repository (`org/name`), all of an owner or group with its subgroups (`org/*`), or all (`*`). */
export const repositoryPattern = z
  .string()
  .max(300)
  .regex(/^(\*|[A-Za-z0-9_.-]+\/(\*|[A-Za-z0-9_.-]+(\/[A-Za-z0-9_.-]+)*(\/\*)?))$/, 'write org/name, org/* or *');

const token = z
  .string()
  .min(8)
  .max(500)
  .regex(/^[\x21-\x7e]+$/, 'a token has visible ASCII characters without spaces');

/** POST /v1/code-hosts. */
export const codeHostRequest = z.strictObject({
  name: safeName,
  provider: codeHostProvider,
  /** Of its API: `https://api.github.com`, `https://gitlab.example.org`. */
  url: serviceUrl,
  repositories: z.array(repositoryPattern).min(1).max(100),
  token,
});
export type CodeHostRequest = z.output<typeof codeHostRequest>;
/** PUT /v1/code-hosts/:name/token. */
export const codeHostToken = z.strictObject({ token });

export const codeHostView = z.object({
  id: idOf('codeHost'),
  name: z.string(),
  provider: codeHostProvider,
  url: z.string(),
  repositories: z.array(z.string()),
  createdBy: z.string(),
  createdAt: timestamp,
  pending: z.number().int(),
  failed: z.number().int(),
  newest: outgoingDeliveryView.nullable(),
});
export type CodeHostView = z.infer<typeof codeHostView>;
export const codeHostList = z.object({ items: z.array(codeHostView) });
