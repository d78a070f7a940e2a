import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import { BlockList, isIPv6, type Socket } from 'node:net';

export type ConnectionBounds = {
  /** Connections of one server; 0: unlimited. */
  most: number;
  /** Connections from one address; 0: unlimited. */
  perAddress: number;
  /** Proxies, which serve many clients: addresses or CIDR blocks that are exempt from `perAddress`. */
  trusted: readonly string[];
};

/** The idle connections of a server, longest idle first. */
export type OpenConnections = { withoutRequest(): Iterable<Socket> };

/** How long the headers of a request may take. */
export const headersTimeoutMs = 20_000;

/**
 * Limits the connections of a server. At the limit the one that has been idle the longest is closed, so that idle connections do not block
 * others: a health check or an agent connects, gets its answer and disconnects. An address with too many connections loses its own.
 */
export function boundConnections(server: Server, { most, perAddress, trusted }: ConnectionBounds): OpenConnections {
  const proxies = blockListOf(trusted);
  /** Ordered by their last response, or by connect time. */
  const idle = new Set<Socket>();
  const all = new Map<Socket, string>();
  const byAddress = new Map<string, Set<Socket>>();

  /** Closes the one of these that has been idle the longest, or else the new connection. */
  function makeRoom(among: Pick<ReadonlySet<Socket>, 'has'>, newcomer: Socket): void {
    const longest = [...idle].find((socket) => socket !== newcomer && among.has(socket)) ?? newcomer;
    // At once, not when it has closed: the count must be right before the next connection.
    forget(longest);
    longest.destroy();
  }

  function forget(socket: Socket): void {
    idle.delete(socket);
    const address = all.get(socket) ?? '';
    all.delete(socket);
    const own = byAddress.get(address);
    if (own?.delete(socket) && own.size === 0) byAddress.delete(address);
  }

  server.on('connection', (socket: Socket) => {
    const address = socket.remoteAddress ?? '';
    all.set(socket, address);
    idle.add(socket);
    socket.once('close', () => forget(socket));
    if (most > 0 && all.size > most) makeRoom(all, socket);
    if (perAddress === 0 || proxies.check(address, isIPv6(address) ? 'ipv6' : 'ipv4')) return;
    const own = byAddress.get(address) ?? new Set();
    byAddress.set(address, own.add(socket));
    if (own.size > perAddress) makeRoom(own, socket);
  });
  server.on('request', (request: IncomingMessage, response: ServerResponse) => {
    const { socket } = request;
    idle.delete(socket);
    response.once('close', () => {
      if (all.has(socket)) idle.add(socket);
    });
  });
  return { withoutRequest: () => [...idle] };
}

function blockListOf(blocks: readonly string[]): BlockList {
  const list = new BlockList();
  for (const block of blocks) {
    const [address = '', bits] = block.split('/');
    const family = isIPv6(address) ? 'ipv6' : 'ipv4';
    if (bits === undefined) list.addAddress(address, family);
    else list.addSubnet(address, Number(bits), family);
  }
  return list;
}
