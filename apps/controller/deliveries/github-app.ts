import { createPrivateKey, sign } from 'node:crypto';
import { CairnError } from '@cairn/contract';
import { z } from 'zod';
import { askHost } from './code-host.ts';

/** An app of GitHub, as it signs in: its id, or its client id, and the private key that GitHub made for it. */
export type GitHubApp = { url: string; appId: string; privateKey: string };
export type InstallationToken = { token: string /** The user that the app's comments are of: `NAME[bot]`. */; login: string };

export type InstallationTokens = {
  /** A token that may report to one repository, from memory or a new one. @throws CallFailed */
  of(app: GitHubApp, repository: string, options: CallOptions): Promise<InstallationToken>;
  /** GitHub refused the token: the next call gets another. */
  forget(app: GitHubApp, repository: string): void;
};
type CallOptions = { clock(): Date; signal: AbortSignal };

/** GitHub's tokens are valid for an hour; one is not used in its last minutes, when a request may arrive too late. */
const spareMs = 5 * 60_000;
/** GitHub accepts at most ten minutes. Issued a minute ago, as GitHub advises, for clocks that differ. */
const jwtSeconds = { before: 60, after: 540 };
/** Repositories whose tokens are remembered. */
const mostKept = 1_000;

const installation = z.object({ id: z.number().int(), app_slug: z.string() });
const made = z.object({ token: z.string().min(1), expires_at: z.iso.datetime() });

/** Tokens of installations, made for one repository each and kept in memory until shortly before they end. */
export function installationTokens(): InstallationTokens {
  // Reports that are sent at the same time share one token.
  const kept = new Map<string, Promise<InstallationToken & { until: number }>>();
  const keyOf = ({ url, appId, privateKey }: GitHubApp, repository: string) =>
    JSON.stringify([url, appId, privateKey, repository.toLowerCase()]);

  return {
    async of(app, repository, options) {
      const key = keyOf(app, repository);
      for (let current = kept.get(key); current !== undefined; current = kept.get(key)) {
        const known = await current.catch(() => undefined);
        if (known !== undefined && known.until > options.clock().getTime()) return known;
        // Unless another call has replaced it meanwhile.
        if (kept.get(key) === current) kept.delete(key);
      }
      const making = newToken(app, repository, options);
      kept.set(key, making);
      for (const oldest of [...kept.keys()].slice(0, -mostKept)) kept.delete(oldest);
      return making;
    },
    forget: (app, repository) => void kept.delete(keyOf(app, repository)),
  };
}

/** https://docs.github.com/rest/apps/apps: the installation of the repository, then a token for that repository alone. */
async function newToken(app: GitHubApp, repository: string, { clock, signal }: CallOptions) {
  const headers = {
    accept: 'application/vnd.github+json',
    authorization: `Bearer ${appJwt(app, clock())}`,
    'x-github-api-version': '2022-11-28',
  };
  const options = { headers, clock, signal };
  const path = repository.split('/').map(encodeURIComponent).join('/');
  const found = await askHost(
    { what: 'find the installation of the app', method: 'GET', url: `${app.url}/repos/${path}/installation`, answer: installation },
    options,
  );
  const { token, expires_at: end } = await askHost(
    {
      what: 'make a token of the installation',
      method: 'POST',
      url: `${app.url}/app/installations/${found.id}/access_tokens`,
      body: { repositories: [repository.slice(repository.indexOf('/') + 1)] },
      answer: made,
    },
    options,
  );
  return { token, login: `${found.app_slug}[bot]`, until: Date.parse(end) - spareMs };
}

const encoded = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url');

/**
 * The JSON Web Token (RFC 7519, RS256) with which an app signs in.
 * https://docs.github.com/apps/creating-github-apps/authenticating-with-a-github-app/generating-a-json-web-token-jwt-for-a-github-app
 *
 * @throws CairnError `invalid_request` when the key cannot be read
 */
export function appJwt({ appId, privateKey }: Pick<GitHubApp, 'appId' | 'privateKey'>, now: Date): string {
  const seconds = Math.floor(now.getTime() / 1000);
  const claims = { iat: seconds - jwtSeconds.before, exp: seconds + jwtSeconds.after, iss: appId };
  const signed = `${encoded({ alg: 'RS256', typ: 'JWT' })}.${encoded(claims)}`;
  try {
    return `${signed}.${sign('RSA-SHA256', Buffer.from(signed), createPrivateKey(privateKey)).toString('base64url')}`;
  } catch (cause) {
    throw new CairnError('invalid_request', 'the private key of the GitHub App cannot be read', { cause });
  }
}
