import { readFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { CairnError } from '@cairn/contract';
import { z } from 'zod';

/** `client.json` in the home folder: the address and token of the service that `cairn up` started there. */
export const clientFile = z.object({ url: z.string(), token: z.string() });
export type Connection = z.infer<typeof clientFile>;

/** `home`: the folder of the service, if the address comes from its file. */
export type FoundConnection = { url: string; token: string | undefined; home: string | null };

type Environment = Readonly<Record<string, string | undefined>>;

/** The home folder: `--home`, CAIRN_HOME, or `~/.local/share/cairn`. */
export function homeOf(env: Environment, given: string | undefined): string {
  return given ?? env.CAIRN_HOME ?? join(env.HOME ?? homedir(), '.local', 'share', 'cairn');
}

export function clientFileOf(home: string): string {
  return join(home, 'client.json');
}

export function datasetRootsFileOf(home: string): string {
  return join(home, 'dataset-roots.json');
}

/**
 * The address and token to use: `--url` or CAIRN_URL with CAIRN_TOKEN, else those that `cairn up` stored in the home folder. The
 * token of that file is sent only to its own address.
 *
 * @throws CairnError `unavailable` when no service is known, `invalid_configuration` when the file cannot be read
 */
export async function findConnection(env: Environment, options: { home?: string; url?: string }): Promise<FoundConnection> {
  const path = clientFileOf(homeOf(env, options.home));
  // `--home` takes precedence over the environment: it selects one service.
  const url = options.url ?? (options.home === undefined ? env.CAIRN_URL : undefined);
  const file = await readClientFile(path);
  if (url !== undefined) {
    const token = env.CAIRN_TOKEN ?? (file !== null && sameAddress(file.url, url) ? file.token : undefined);
    return { url, token, home: null };
  }
  if (file !== null) {
    return {
      url: file.url,
      token: (options.home === undefined ? env.CAIRN_TOKEN : undefined) ?? file.token,
      home: homeOf(env, options.home),
    };
  }
  throw new CairnError('unavailable', `No Cairn service is configured: CAIRN_URL is not set and ${path} does not exist`, {
    details: { remedy: 'Start one with `cairn up`, or set CAIRN_URL and CAIRN_TOKEN.' },
  });
}

async function readClientFile(path: string): Promise<Connection | null> {
  let content: string;
  try {
    content = await readFile(path, 'utf8');
  } catch (error) {
    if (error instanceof Error && 'code' in error && (error.code === 'ENOENT' || error.code === 'ENOTDIR')) return null;
    throw new CairnError('invalid_configuration', `${path} cannot be read: ${error instanceof Error ? error.message : String(error)}`, {
      details: { remedy: 'It belongs to the user who ran `cairn up`; set CAIRN_URL and CAIRN_TOKEN instead.' },
      cause: error,
    });
  }
  try {
    return clientFile.parse(JSON.parse(content));
  } catch (error) {
    throw new CairnError('invalid_configuration', `${path} was not written by \`cairn up\``, {
      details: { remedy: 'Remove it and run `cairn up` again, or set CAIRN_URL and CAIRN_TOKEN.' },
      cause: error,
    });
  }
}

function sameAddress(a: string, b: string): boolean {
  return URL.canParse(a) && URL.canParse(b) && new URL(a).href === new URL(b).href;
}
