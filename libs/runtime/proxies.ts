import http from 'node:http';
import { CairnError } from '@cairn/contract';
import { z } from 'zod';

type Environment = Readonly<Record<string, string | undefined>>;

/** Addresses of this machine need no proxy, and a proxy could not reach them. */
const loopback = ['localhost', '127.0.0.1', '127.0.0.1-127.255.255.255', '::1', '[::1]'];

/** The variables that name proxies. */
export const proxyVariables: readonly string[] = ['HTTP_PROXY', 'HTTPS_PROXY', 'NO_PROXY'].flatMap((name) => [name, name.toLowerCase()]);

const proxies = z.object({ http_proxy: z.string().optional(), https_proxy: z.string().optional(), no_proxy: z.string() });
export type Proxies = z.infer<typeof proxies>;

/**
 * The proxies that HTTP_PROXY, HTTPS_PROXY and NO_PROXY name, lower-case variables first, as curl reads them; null without any. Loopback
 * addresses never have one.
 *
 * @throws CairnError `invalid_configuration` for a proxy that is not an http address
 */
export function proxiesOf(env: Environment): Proxies | null {
  const of = (name: string): string | undefined => env[name.toLowerCase()] || env[name] || undefined;
  const [httpProxy, httpsProxy] = [addressOf('HTTP_PROXY', of('HTTP_PROXY')), addressOf('HTTPS_PROXY', of('HTTPS_PROXY'))];
  if (httpProxy === undefined && httpsProxy === undefined) return null;
  return {
    ...(httpProxy === undefined ? {} : { http_proxy: httpProxy }),
    ...(httpsProxy === undefined ? {} : { https_proxy: httpsProxy }),
    no_proxy: [...loopback, ...(of('NO_PROXY')?.split(/[\s,]+/) ?? [])].filter((entry) => entry !== '').join(','),
  };
}

function addressOf(name: string, text: string | undefined): string | undefined {
  if (text === undefined) return undefined;
  // curl accepts a bare name, such as proxy:3128.
  const address = /^[a-z0-9+.-]+:\/\//i.test(text) ? text : `http://${text}`;
  if (URL.canParse(address) && /^https?:$/.test(new URL(address).protocol)) return address;
  throw new CairnError('invalid_configuration', `${name} is not the address of an HTTP proxy, such as http://proxy.example.org:3128`);
}

/**
 * Sends this process's requests through the proxies of the environment. Call it once, where a program starts, before it opens any connection.
 *
 * @throws CairnError as {@link proxiesOf} does
 */
export function useProxies(env: Environment): void {
  const found = proxiesOf(env);
  if (found !== null) http.setGlobalProxyFromEnv(found);
}

/** What {@link useProxies} set, for agents that a library creates itself: their option `proxyEnv`. */
export function usedProxies(): Proxies | undefined {
  return z.object({ options: z.object({ proxyEnv: proxies.optional() }) }).safeParse(http.globalAgent).data?.options.proxyEnv;
}

/** The proxies in words, without their passwords; null without any. */
export function describeProxies(env: Environment): string | null {
  const found = proxiesOf(env);
  if (found === null) return null;
  const shown = (address: string): string => new URL(address).host;
  const { http_proxy: plain, https_proxy: secure } = found;
  const parts = [
    ...(plain === undefined ? [] : [`http by ${shown(plain)}`]),
    ...(secure === undefined ? [] : [`https by ${shown(secure)}`]),
  ];
  return parts.join(', ');
}
