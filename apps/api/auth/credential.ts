import { CairnError } from '@cairn/contract';
import { parseCookie, stringifySetCookie } from 'cookie';
import type { FastifyRequest } from 'fastify';

/** What identifies a caller: a token, or the cookie of a browser that was given for one. */
export type Credential = { kind: 'token' | 'session'; secret: string };

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
