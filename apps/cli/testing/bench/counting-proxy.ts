import { createServer, type IncomingMessage, request as requestHttp, type ServerResponse } from 'node:http';
import { request as requestHttps } from 'node:https';
import type { AddressInfo } from 'node:net';
import type { KubeConfig } from '@kubernetes/client-node';

/** A call that went to the API server. */
export type ApiCall = {
  /** `GET`, `POST`..., and `WATCH` for what stays open. */
  verb: string;
  /** Without its query. */
  path: string;
  /** Milliseconds since the epoch. */
  at: number;
};

export type CountingProxy = {
  /** A kubeconfig whose server is the proxy, as JSON. */
  kubeconfig: string;
  calls: readonly ApiCall[];
  close(): Promise<void>;
};

/** Stands between a controller and the API server of a kubeconfig and notes every call, which it makes with that one's rights. */
export async function startCountingProxy(config: KubeConfig): Promise<CountingProxy> {
  const target = new URL(config.getCurrentCluster()?.server ?? '');
  const calls: ApiCall[] = [];
  const server = createServer((incoming, answer) => {
    const url = new URL(incoming.url ?? '/', 'http://proxy');
    const verb = url.searchParams.get('watch') === 'true' ? 'WATCH' : (incoming.method ?? 'GET');
    calls.push({ verb, path: url.pathname, at: Date.now() });
    void forward(config, target, incoming, answer);
  });
  server.listen(0, '127.0.0.1');
  await new Promise<void>((resolve) => server.once('listening', resolve));
  const { port } = server.address() as AddressInfo;
  // The client takes plain HTTP only where it is told not to verify.
  const cluster = { name: 'counted', cluster: { server: `http://127.0.0.1:${port}`, 'insecure-skip-tls-verify': true } };
  return {
    kubeconfig: JSON.stringify({
      apiVersion: 'v1',
      kind: 'Config',
      clusters: [cluster],
      users: [{ name: 'none', user: {} }],
      contexts: [{ name: 'counted', context: { cluster: 'counted', user: 'none' } }],
      'current-context': 'counted',
    }),
    calls,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
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
