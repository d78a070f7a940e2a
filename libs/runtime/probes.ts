import { once } from 'node:events';
import { createServer } from 'node:http';
import { createServer as createTcpServer } from 'node:net';
import { z } from 'zod';
import type { Metrics } from './metrics.ts';
import { deadline, untilAborted } from './waits.ts';

export type ProbesOptions = {
  host: string;
  /** 0 chooses a free one. */
  port: number;
  /** By the name of the required part: throws, with a sentence, when it is unavailable. */
  checks: Readonly<Record<string, (signal: AbortSignal) => Promise<void> | void>>;
  /** Served at `/metrics`, to any client that reaches the port. */
  metrics?: Metrics;
  /** A part that does not answer within this time is unavailable. */
  limitMs?: number;
};

/** Where a program serves its probes; without a port, it serves none. */
export const probeVariables = {
  CAIRN_PROBE_HOST: z.string().min(1).default('127.0.0.1'),
  CAIRN_PROBE_PORT: z.coerce.number().int().min(0).max(65_535).optional(),
};

type Probes = { port: number; close(): Promise<void> };

/**
 * A port for a program that serves nothing else: `/healthz` says that it runs and checks nothing; `/readyz` answers 503 with
 * the parts that are unavailable; `/metrics` serves the program's metrics, if it has any.
 *
 * @throws Error EADDRINUSE when the port is taken
 */
export async function startProbes({ host, port, checks, metrics, limitMs = 3_000 }: ProbesOptions): Promise<Probes> {
  const server = createServer((request, response) => {
    const answer = (status: number, body: unknown): void =>
      void response.writeHead(status, { 'content-type': 'application/json' }).end(`${JSON.stringify(body)}\n`);
    if (request.url === '/healthz') return answer(200, { status: 'ok' });
    if (request.url === '/metrics' && metrics !== undefined) {
      void metrics.render().then(
        ({ contentType, body }) => response.writeHead(200, { 'content-type': contentType }).end(body),
        (error: unknown) => answer(500, { status: 'failed', why: String(error) }),
      );
      return;
    }
    if (request.url !== '/readyz')
      return answer(404, { status: 'unknown', paths: ['/healthz', '/readyz', ...(metrics ? ['/metrics'] : [])] });
    void faultsOf(checks, limitMs).then((faults) =>
      Object.keys(faults).length === 0 ? answer(200, { status: 'ok' }) : answer(503, { status: 'unavailable', faults }),
    );
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, host, resolve);
  });
  const address = server.address();
  return {
    port: typeof address === 'object' && address !== null ? address.port : port,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

/** The error of each unavailable part; a part that does not answer in time is unavailable. */
async function faultsOf(checks: ProbesOptions['checks'], limitMs: number): Promise<Record<string, string>> {
  const limit = deadline(undefined, limitMs);
  const results = await Promise.all(
    Object.entries(checks).map(async ([part, check]): Promise<[string, string][]> => {
      try {
        await untilAborted(Promise.resolve(check(limit)), limit);
        return [];
      } catch (error) {
        if (limit.aborted) return [[part, `no answer within ${limitMs / 1000} s`]];
        return [[part, error instanceof Error ? error.message : String(error)]];
      }
    }),
  );
  return Object.fromEntries(results.flat());
}

/** Below the ports that systems give to outgoing connections (from 32,768 on Linux) and Kubernetes to its node ports (from 30,000). */
const ports = { first: 20_000, count: 10_000 };
/** Processes that start at the same time, with neighbouring ids, begin far apart. */
let lastPort = (process.pid * 997) % ports.count;

/**
 * A TCP port of 127.0.0.1 on which nothing listens now, another one at each call. No outgoing connection takes it by chance, but another
 * program may listen on it first: then the caller must retry.
 */
export async function freePort(): Promise<number> {
  for (let left = ports.count; left > 0; left -= 1) {
    lastPort = (lastPort + 1) % ports.count;
    const port = ports.first + lastPort;
    if (await isPortFree(port)) return port;
  }
  throw new Error(`no port of 127.0.0.1 from ${ports.first} to ${ports.first + ports.count - 1} is free`);
}

/** True when nothing listens on the port of 127.0.0.1. */
export async function isPortFree(port: number): Promise<boolean> {
  const server = createTcpServer().listen(port, '127.0.0.1');
  try {
    await once(server, 'listening');
  } catch {
    return false;
  }
  server.close();
  await once(server, 'close');
  return true;
}
