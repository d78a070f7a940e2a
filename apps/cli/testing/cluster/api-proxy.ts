import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type IncomingMessage, request as requestHttp, type ServerResponse } from 'node:http';
import { request as requestHttps } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { KubeConfig } from '@kubernetes/client-node';

/** A call to the API server. */
export type ApiCall = {
  /** `GET`, `POST`..., and `WATCH` for calls that stay open. */
  verb: string;
  /** Without its query. */
  path: string;
  /** Milliseconds since the epoch. */
  at: number;
};

export type ApiProxy = {
  /** A kubeconfig file whose server is the proxy. */
  kubeconfig: string;
  calls: readonly ApiCall[];
  /** Breaks all connections and accepts no more, like an API server that went away. Returns the function that brings it back. */
  cut(): Promise<() => Promise<void>>;
  close(): Promise<void>;
};

/** A proxy between a controller and the API server of a kubeconfig; it records every call, and makes it with that kubeconfig's rights. */
export async function startApiProxy(config: KubeConfig): Promise<ApiProxy> {
  const folder = await mkdtemp(join(tmpdir(), 'cairn-api-proxy-'));
  const target = new URL(config.getCurrentCluster()?.server ?? '');
  const calls: ApiCall[] = [];
  const server = createServer((incoming, answer) => {
    const url = new URL(incoming.url ?? '/', 'http://proxy');
    const verb = url.searchParams.get('watch') === 'true' ? 'WATCH' : (incoming.method ?? 'GET');
    calls.push({ verb, path: url.pathname, at: Date.now() });
    void forward(config, target, incoming, answer);
  });
  async function start(port: number): Promise<void> {
    server.listen(port, '127.0.0.1');
    await once(server, 'listening');
  }
  async function stop(): Promise<void> {
    const closed = once(server, 'close');
    server.close();
    server.closeAllConnections();
    await closed;
  }
  await start(0);
  const { port } = server.address() as AddressInfo;
  // The client accepts plain HTTP only when verification is disabled.
  const cluster = { name: 'proxy', cluster: { server: `http://127.0.0.1:${port}`, 'insecure-skip-tls-verify': true } };
  const kubeconfig = join(folder, 'kubeconfig');
  await writeFile(
    kubeconfig,
    JSON.stringify({
      apiVersion: 'v1',
      kind: 'Config',
      clusters: [cluster],
      users: [{ name: 'none', user: {} }],
      contexts: [{ name: 'proxy', context: { cluster: 'proxy', user: 'none' } }],
      'current-context': 'proxy',
    }),
  );
  return {
    kubeconfig,
    calls,
    async cut() {
      await stop();
      return () => start(port);
    },
    async close() {
      await stop();
      await rm(folder, { recursive: true });
    },
  };
}

async function forward(config: KubeConfig, target: URL, incoming: IncomingMessage, answer: ServerResponse): Promise<void> {
  const { host: _, ...headers } = incoming.headers;
  const options = { method: incoming.method, headers: { ...headers } };
  await config.applyToHTTPSOptions(options);
  const send = target.protocol === 'https:' ? requestHttps : requestHttp;
  const outgoing = send(new URL(incoming.url ?? '/', target), options, (response) => {
    answer.writeHead(response.statusCode ?? 502, response.headers);
    // A watch answers before its first event.
    answer.flushHeaders();
    response.pipe(answer);
    response.on('error', () => answer.destroy());
  });
  outgoing.on('error', () => answer.destroy());
  answer.on('close', () => outgoing.destroy());
  incoming.pipe(outgoing);
}
