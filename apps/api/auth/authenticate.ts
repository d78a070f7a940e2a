import { CairnError, type TokenRole, tokenRole } from '@cairn/contract';
import type { PrismaClient, Token } from '@cairn/db';
import type { Actor } from '@cairn/engine';
import { parseCookie, stringifySetCookie } from 'cookie';
import type { FastifyRequest } from 'fastify';
import type { SharedReads } from '../load/load-limits.ts';
import { hashSecret } from './secrets.ts';

/** The caller, the role of its token, and when the token or the session ends. */
export type Caller = Actor & { tokenId: string; address: string; role: TokenRole; expiresAt: Date | null };

/** `lastUsedAt` is updated at most this often. */
const lastUsedEveryMs = 60_000;

/**
 * The caller that a token or a session identifies. Looked up for every request, so that a revoked token and its sessions are rejected at
 * once.
 *
 * @throws CairnError `unauthenticated`
 */
export async function authenticate(
  prisma: PrismaClient,
  shared: SharedReads,
  { credential, address }: { credential: Credential | null; address: string },
  now = new Date(),
): Promise<Caller> {
  if (credential === null) throw new CairnError('unauthenticated', 'The request has no token');
  const { kind, secret } = credential;
  if (secret.startsWith('cat_')) throw new CairnError('unauthenticated', 'This token of an attempt is valid for /internal only');
  const hash = hashSecret(secret);
  const { token, session } = await shared(`${kind} ${hash}`, () => lookUp[kind](prisma, hash));
  const { name, projectId, id: tokenId } = token;
  const over = token.revokedAt !== null ? `was revoked at ${token.revokedAt.toISOString()}` : expiryOf(token, now);
  if (over !== null) throw new RefusedToken(`The token ${name} ${over}`, { name, projectId, tokenId, address });
  if (session !== null && session.expiresAt <= now)
    throw new CairnError('unauthenticated', `The session ended at ${session.expiresAt.toISOString()}; sign in again`);
  if (token.lastUsedAt === null || now.getTime() - token.lastUsedAt.getTime() >= lastUsedEveryMs) {
    await prisma.token.updateMany({ where: { id: token.id }, data: { lastUsedAt: now } });
  }
  // A session ends with its token at the latest.
  const { expiresAt } = session ?? token;
  return { name, projectId, tokenId, address, role: tokenRole.parse(token.role), expiresAt };
}

type Found = { token: Token; session: { expiresAt: Date } | null };

const lookUp: Record<Credential['kind'], (prisma: PrismaClient, hash: string) => Promise<Found>> = {
  async token(prisma, hash) {
    const token = await prisma.token.findUnique({ where: { hash } });
    if (token === null) throw new CairnError('unauthenticated', 'Unknown token');
    return { token, session: null };
  },
  async session(prisma, hash) {
    const found = await prisma.session.findUnique({ where: { hash }, include: { token: true } });
    if (found === null) throw new CairnError('unauthenticated', 'The session has ended; sign in again');
    return { token: found.token, session: found };
  },
};

const expiryOf = ({ expiresAt }: { expiresAt: Date | null }, now: Date): string | null =>
  expiresAt !== null && expiresAt <= now ? `expired at ${expiresAt.toISOString()}` : null;

/** A known token that has expired or was revoked. */
export class RefusedToken extends CairnError {
  readonly holder: Actor & { tokenId: string };

  constructor(message: string, holder: Actor & { tokenId: string }) {
    super('unauthenticated', message);
    this.holder = holder;
  }
}

/**
 * @param why why the role is required, if the route alone does not require it
 * @throws CairnError `forbidden` that names the role the call needs
 */
export function requireRole(caller: Caller, needed: TokenRole, why?: string): void {
  const rank = (role: TokenRole) => tokenRole.options.indexOf(role);
  if (rank(caller.role) >= rank(needed)) return;
  throw new CairnError(
    'forbidden',
    `The token ${caller.name} has the role ${caller.role}; this call requires the role ${needed}${why === undefined ? '' : `: ${why}`}`,
    {
      details: { role: caller.role, needed },
    },
  );
}

/** What identifies a caller: a token, or the cookie of a browser that was given for one. */
type Credential = { kind: 'token' | 'session'; secret: string };

type RequestFacts = Pick<FastifyRequest, 'method' | 'headers' | 'protocol' | 'host'>;

/**
 * The cookie's name. With HTTPS its prefix makes browsers refuse one that another host or an unencrypted page of this host has set
 * (https://datatracker.ietf.org/doc/html/draft-ietf-httpbis-rfc6265bis, section 4.1.3.2).
 */
const cookieName = ({ protocol }: Pick<RequestFacts, 'protocol'>): string =>
  protocol === 'https' ? '__Host-cairn_session' : 'cairn_session';

/** The secret of an Authorization header, or null when there is none. */
export function bearerOf(authorization: string | undefined): string | null {
  return /^Bearer +(\S+) *$/i.exec(authorization ?? '')?.[1] ?? null;
}

/** The credential of a request: that of the Authorization header if there is one, else of the cookie; null without either. */
export function credentialOf(request: Pick<RequestFacts, 'headers' | 'protocol'>): Credential | null {
  const { authorization, cookie } = request.headers;
  const [kind, secret] =
    authorization === undefined
      ? (['session', cookie === undefined ? undefined : parseCookie(cookie)[cookieName(request)]] as const)
      : (['token', bearerOf(authorization)] as const);
  return secret ? { kind, secret } : null;
}

/** The Set-Cookie header of a session; `secret` null ends it. Scripts cannot read the cookie, and other sites cannot send it. */
export function sessionCookie(request: Pick<RequestFacts, 'protocol'>, secret: string | null, maxAgeSeconds: number): string {
  return stringifySetCookie({
    name: cookieName(request),
    value: secret ?? '',
    maxAge: secret === null ? 0 : maxAgeSeconds,
    httpOnly: true,
    sameSite: 'strict',
    path: '/',
    secure: request.protocol === 'https',
  });
}

const isRead = (method: string): boolean => method === 'GET' || method === 'HEAD';

/**
 * Rejects a change that a page of another site requests with the visitor's cookie. Browsers name the requesting site: those that trust the
 * connection in Sec-Fetch-Site, all others in Origin.
 *
 * @throws CairnError `cross_site`
 */
export function refuseOtherSites({ method, headers, host }: RequestFacts): void {
  if (isRead(method)) return;
  const site = headers['sec-fetch-site'];
  const { origin } = headers;
  if (site === 'same-origin') return;
  if (site === undefined && origin !== undefined && URL.canParse(origin) && new URL(origin).host === host) return;
  const from =
    origin === undefined
      ? site === undefined
        ? 'its origin is unknown'
        : `it comes from a page that is ${site}`
      : `its origin is ${origin}`;
  throw new CairnError('cross_site', `The change is refused, because ${from} and not this service, ${host}`);
}
