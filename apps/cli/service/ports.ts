import { readFile } from 'node:fs/promises';
import { CairnError } from '@cairn/contract';
import { freePort, isPortFree } from '@cairn/runtime';
import { z } from 'zod';
import { writePrivate } from './service-home.ts';

const portsSchema = z.object({ api: z.number().int(), internal: z.number().int() });
export type Ports = z.infer<typeof portsSchema>;

/** The purpose of each port, and the option that chooses another. */
const kinds = {
  api: { what: 'the API', option: '--port' },
  internal: { what: 'the agents', option: '--internal-port' },
} as const;

/**
 * The ports to listen on. 0 chooses the last port if it is free, else any free one, so that an agent that outlived its
 * service finds it again.
 *
 * @throws CairnError `port_in_use` naming the port and the option that chooses another
 */
export async function choosePorts(asked: Ports, portsFile: string): Promise<Ports> {
  const last = await lastPorts(portsFile);
  const ports = { api: await choose('api', asked.api, last), internal: await choose('internal', asked.internal, last) };
  if (ports.api === ports.internal) throw inUse('internal', ports.internal, 'is given for the API and for the agents');
  await writePrivate(portsFile, JSON.stringify(ports));
  return ports;
}

/** @throws CairnError `port_in_use` for the first of the ports that another program listens on */
export async function requireFree(ports: Ports): Promise<void> {
  for (const kind of ['api', 'internal'] as const) await choose(kind, ports[kind], null);
}

async function choose(kind: keyof Ports, asked: number, last: Ports | null): Promise<number> {
  if (asked !== 0) {
    if (await isPortFree(asked)) return asked;
    throw inUse(kind, asked, 'is in use by another program');
  }
  const before = last?.[kind];
  return before !== undefined && (await isPortFree(before)) ? before : freePort();
}

function inUse(kind: keyof Ports, port: number, why: string): CairnError {
  const { what, option } = kinds[kind];
  return new CairnError('port_in_use', `Port ${port} of 127.0.0.1, for ${what}, ${why}`, {
    details: { port, option, remedy: `Stop that program, or choose another port with ${option} N (0 chooses any free one).` },
  });
}

async function lastPorts(path: string): Promise<Ports | null> {
  try {
    return portsSchema.parse(JSON.parse(await readFile(path, 'utf8')));
  } catch {
    // None yet, or not one of ours: any port will do.
    return null;
  }
}
