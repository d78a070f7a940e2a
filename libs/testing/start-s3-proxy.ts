import { once } from 'node:events';
import { createServer, type IncomingMessage, request, type ServerResponse } from 'node:http';
import { pipeline } from 'node:stream/promises';

/** What the proxy does with a request. */
export type Verdict =
  | 'pass'
  /** Lets the server execute it, and drops the answer. */
  | 'lose answer'
  /** Passes this many bytes of the answer's body, then closes the connection. */
  | { cutAfter: number }
  /** Passes this many bytes of the answer's body, then nothing, and leaves the connection open. */
  | { silentAfter: number }
  | { status: number; code: string }
  | { body: string };

export type S3Proxy = {
  endpoint: string;
  /** Called for each request; `target` is its path and query. */
  decide: (method: string, target: string) => Verdict | Promise<Verdict>;
  /** Called when the server has answered a request that was passed. */
  onAnswer: (method: string, target: string) => void;
  /** How many requests have not been answered completely. */
  serving(): number;
  close(): Promise<void>;
};

/** A proxy in front of an S3 server that disturbs requests as `decide` says. */
export async function startS3Proxy(port: number): Promise<S3Proxy> {
  let serving = 0;
  const server = createServer((incoming, answer) => {
    serving += 1;
    answer.once('close', () => {
      serving -= 1;
    });
    handle(proxy, port, incoming, answer).catch(() => answer.destroy());
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('a TCP server has no port');
  const proxy: S3Proxy = {
    endpoint: `http://127.0.0.1:${address.port}`,
    decide: () => 'pass',
    onAnswer: () => undefined,
    serving: () => serving,
    async close() {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
  return proxy;
}

async function handle(proxy: S3Proxy, port: number, incoming: IncomingMessage, answer: ServerResponse): Promise<void> {
  const [method, target] = [incoming.method ?? '', incoming.url ?? ''];
  const verdict = await proxy.decide(method, target);
  if (typeof verdict === 'object' && ('status' in verdict || 'body' in verdict)) {
    incoming.resume();
    answer.statusCode = 'status' in verdict ? verdict.status : 200;
    answer.setHeader('content-type', 'application/xml');
    answer.end('body' in verdict ? verdict.body : `<Error><Code>${verdict.code}</Code><Message>requested by the test</Message></Error>`);
    return;
  }
  // The host is kept: it is signed.
  const { expect: _, ...headers } = incoming.headers;
  const outgoing = request({ host: '127.0.0.1', port, method: incoming.method, path: incoming.url, headers, agent: false });
  incoming.on('aborted', () => outgoing.destroy());
  await pipeline(incoming, outgoing);
  const [passed] = await once(outgoing, 'response');
  proxy.onAnswer(method, target);
  if (verdict === 'lose answer') {
    passed.resume();
    await once(passed, 'end');
    answer.destroy();
    return;
  }
  answer.writeHead(passed.statusCode, passed.headers);
  if (verdict === 'pass') {
    await pipeline(passed, answer);
    return;
  }
  const isSilent = 'silentAfter' in verdict;
  let left = isSilent ? verdict.silentAfter : verdict.cutAfter;
  for await (const chunk of passed) {
    const piece = chunk.subarray(0, left);
    left -= piece.length;
    await new Promise((resolve) => answer.write(piece, resolve));
    if (left === 0) break;
  }
  if (!isSilent) answer.destroy();
}
