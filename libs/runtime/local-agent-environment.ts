import { proxyVariables } from './proxies.ts';

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
