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

/** A key as GitHub gives it to download: an RSA key in PEM, at most 16,384 bits. */
const privateKey = z
  .string()
  .max(16_384)
  .regex(
    /^-----BEGIN (RSA )?PRIVATE KEY-----[A-Za-z0-9+/=\s]+-----END (RSA )?PRIVATE KEY-----\s*$/,
    'use the private key in PEM, without a passphrase',
  );

/** A GitHub App that reports in its own name: its id or client id, and its private key. */
const githubApp = z.strictObject({
  id: z.string().regex(/^[A-Za-z0-9._-]{1,64}$/, 'use the App ID or the Client ID of the app'),
  privateKey,
});

/** POST /v1/code-hosts. */
export const codeHostRequest = z
  .strictObject({
    name: safeName,
    provider: codeHostProvider,
    /** Of its API: `https://api.github.com`, `https://gitlab.example.org`. */
    url: serviceUrl,
    repositories: z.array(repositoryPattern).min(1).max(100),
    token: token.optional().describe('Of the user that reports; or `app`.'),
    app: githubApp.optional().describe('The GitHub App that reports, in place of a token.'),
  })
  .refine(({ token: given, app }) => (given === undefined) !== (app === undefined), {
    path: ['token'],
    error: 'give either `token` or `app`',
  })
  .refine(({ provider, app }) => app === undefined || provider === 'github', { path: ['app'], error: 'only GitHub has apps' });
export type CodeHostRequest = z.output<typeof codeHostRequest>;
/** PUT /v1/code-hosts/:name/token: a new token, or for a GitHub App a new private key. */
export const codeHostToken = z
  .strictObject({ token: token.optional(), privateKey: privateKey.optional() })
  .refine(({ token: given, privateKey: key }) => (given === undefined) !== (key === undefined), {
    path: ['token'],
    error: 'give either `token` or `privateKey`',
  });
export type CodeHostToken = z.output<typeof codeHostToken>;

export const codeHostView = z.object({
  id: idOf('codeHost'),
  name: z.string(),
  provider: codeHostProvider,
  url: z.string(),
  repositories: z.array(z.string()),
  /** The GitHub App that reports; null where it is a user with a token. */
  appId: z.string().nullable().default(null),
  createdBy: z.string(),
  createdAt: timestamp,
  pending: z.number().int(),
  failed: z.number().int(),
  newest: outgoingDeliveryView.nullable(),
});
export type CodeHostView = z.infer<typeof codeHostView>;
export const codeHostList = z.object({ items: z.array(codeHostView) });
