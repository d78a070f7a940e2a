import http from 'node:http';
import { join } from 'node:path';
import { CairnError } from '@cairn/contract';
import { z } from 'zod';

type Environment = Readonly<Record<string, string | undefined>>;

/** Addresses of this machine need no proxy, and a proxy could not reach them. */
const loopback = ['localhost', '127.0.0.1', '127.0.0.1-127.255.255.255', '::1', '[::1]'];

/** The variables that name proxies. */
const proxyVariables: readonly string[] = ['HTTP_PROXY', 'HTTPS_PROXY', 'NO_PROXY'].flatMap((name) => [name, name.toLowerCase()]);

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

/** The variables of ours that any process on this machine needs. */
const passedOn = ['PATH', 'HOME', 'TMPDIR', 'LANG', 'LD_LIBRARY_PATH', 'XDG_CACHE_HOME', 'NODE_COMPILE_CACHE', ...proxyVariables];

/**
 * The environment of agents that run on the machine of the program that starts them: the few variables that any process needs, and those that
 * `isNeeded` names, such as the storage's. Nothing else reaches the programs of an attempt: it may be a secret of the control plane.
 */
export function localAgentEnvironment(
  env: Readonly<Record<string, string | undefined>>,
  isNeeded: (name: string) => boolean,
): Record<string, string> {
  return Object.fromEntries(
    Object.entries(env).flatMap(([name, value]) =>
      value !== undefined && (passedOn.includes(name) || isNeeded(name)) ? [[name, value]] : [],
    ),
  );
}

const start = join(import.meta.dirname, '../../docker/trainer/cairn_trainer/start.py');

/**
 * The arguments after the interpreter that run a module of docker/trainer, or a program by its path. Isolated: nothing is imported from the
 * current folder, which may hold anything, PYTHONPATH or the user's own packages. Every start of Python goes through here.
 */
export function isolatedPython(moduleOrFile: string, args: readonly string[]): string[] {
  // Replaces PYTHONUNBUFFERED and PYTHONFAULTHANDLER, which isolated mode does not read.
  return ['-I', '-u', '-X', 'faulthandler', start, moduleOrFile, ...args];
}

/** Its environment: the program's own children must not read Python's variables either. */
export function withoutPythonVariables(env: Readonly<Record<string, string | undefined>>): Record<string, string | undefined> {
  const others = Object.entries(env).filter(([name]) => !name.startsWith('PYTHON'));
  return { ...Object.fromEntries(others), PYTHONSAFEPATH: '1', PYTHONNOUSERSITE: '1' };
}
