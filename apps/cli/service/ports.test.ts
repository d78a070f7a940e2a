import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePort } from '@cairn/runtime';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { choosePorts, requireFree } from './ports.ts';

let home: string;
let file: string;
const holders: Server[] = [];
beforeEach(async () => {
  home = await mkdtemp(join(tmpdir(), 'ports-'));
  file = join(home, 'ports.json');
});
afterEach(async () => {
  for (const holder of holders.splice(0)) holder.close();
  await rm(home, { recursive: true });
});

async function hold(port: number): Promise<void> {
  const server = createServer().listen(port, '127.0.0.1');
  await once(server, 'listening');
  holders.push(server);
}

test('requested ports are used if they are free', async () => {
  const [api, internal] = [await freePort(), await freePort()];
  expect(await choosePorts({ api, internal }, file)).toEqual({ api, internal });
});

test('a port in use is named with the option that chooses another', async () => {
  const [api, internal] = [await freePort(), await freePort()];
  await hold(internal);
  await expect(choosePorts({ api, internal }, file)).rejects.toMatchObject({
    code: 'port_in_use',
    message: `Port ${internal} of 127.0.0.1, for the agents, is in use by another program`,
    details: { port: internal, remedy: expect.stringContaining('--internal-port N') },
  });
  await hold(api);
  await expect(choosePorts({ api, internal: 0 }, file)).rejects.toMatchObject({ details: { remedy: expect.stringContaining('--port N') } });
});

test('0 chooses the last ports if they are free, and others if not', async () => {
  const first = await choosePorts({ api: 0, internal: 0 }, file);
  expect(await choosePorts({ api: 0, internal: 0 }, file)).toEqual(first);
  await hold(first.internal);
  const second = await choosePorts({ api: 0, internal: 0 }, file);
  expect(second.api).toBe(first.api);
  expect(second.internal).not.toBe(first.internal);
});

test('ports that another program took in the meantime are named', async () => {
  const ports = await choosePorts({ api: 0, internal: 0 }, file);
  await requireFree(ports);
  await hold(ports.internal);
  await expect(requireFree(ports)).rejects.toMatchObject({ code: 'port_in_use', details: { port: ports.internal } });
});

test('one port for both is refused', async () => {
  const port = await freePort();
  await expect(choosePorts({ api: port, internal: port }, file)).rejects.toMatchObject({ code: 'port_in_use' });
});
