import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';

/** A TCP proxy that forwards each connection to the next target, like a load balancer that does not know HTTP. */
export async function startRoundRobin(targets: readonly number[]) {
  let next = 0;
  const live = new Set(targets);
  const byTarget = new Map<number, Set<Socket>>();

  const server = createServer((client) => {
    const [...ports] = live;
    const port = ports[next++ % ports.length];
    if (port === undefined) return client.destroy();
    const upstream = connect(port, '127.0.0.1');
    const sockets = byTarget.get(port) ?? new Set();
    byTarget.set(port, sockets.add(client));
    for (const [from, to] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      from.on('error', () => undefined);
      from.on('close', () => to.destroy());
      from.pipe(to);
    }
    client.on('close', () => sockets.delete(client));
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;

  return {
    url: `http://127.0.0.1:${port}`,
    /** The targets that currently have a connection. */
    busy: () => [...byTarget].filter(([, sockets]) => sockets.size > 0).map(([target]) => target),
    add: (target: number) => void live.add(target),
    remove: (target: number) => void live.delete(target),
    close: async () => {
      for (const sockets of byTarget.values()) for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, 'close');
    },
  };
}
