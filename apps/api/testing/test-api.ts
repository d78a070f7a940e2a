import { mkdtemp, realpath, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { TokenRole } from '@cairn/contract';
import { openEngineHarness } from '@cairn/engine/testing';
import { attemptToken, createCloser, createLogger, createMetrics, localAgentEnvironment, newId } from '@cairn/runtime';
import { openStore } from '@cairn/storage';
import type { InjectOptions } from 'fastify';
import { afterAll } from 'vitest';
import { hashSecret, newSecret } from '../auth/secrets.ts';
import { buildServers } from '../build-servers.ts';
import { createEventFeed } from '../events/feed.ts';
import { openFileCache } from '../file-cache.ts';
import type { Dashboard } from '../http/dashboard.ts';
import type { ServerBounds } from '../server-bounds.ts';

const roles = ['viewer', 'submitter', 'admin'] as const satisfies readonly TokenRole[];
const serverKey = 'a server key for tests, 32 or more';

/** Limits that refuse nothing. */
export const noBounds: ServerBounds = {
  rates: { perToken: 0, perAddress: 0 },
  deliveriesPerTrigger: 0,
  weights: { projectCount: 0, ownerCount: 0, projectBytes: 0, ownerBytes: 0 },
  connections: { most: 0, perAddress: 0, trusted: [] },
};

/**
 * Both servers on a database for one test file, with the real engine, a token per role and functions that simulate the controller.
 *
 * @param options.datasetUrls the addresses that may have datasets, besides this machine's temporary folder
 */
export async function openTestApi({ datasetUrls = [] }: { datasetUrls?: readonly string[] } = {}) {
  const harness = await openEngineHarness();
  const { prisma, engine, databaseUrl } = harness;
  // The harness's lead, for as long as a slow machine may take.
  await prisma.$executeRaw`update leadership set expires_at = now() + interval '1 hour'`;
  const log = createLogger({ name: 'test', level: 'silent' });
  const secrets = { viewer: newSecret(), submitter: newSecret(), admin: newSecret() };
  await prisma.token.createMany({
    data: roles.map((role) => ({ id: newId('token'), projectId: 'default', name: `a-${role}`, role, hash: hashSecret(secrets[role]) })),
  });
  const closer = createCloser();
  const folder = await mkdtemp(join(tmpdir(), 'cairn-api-'));
  closer.add('the storage', () => rm(folder, { recursive: true }));
  const cache = await openFileCache({ maxBytes: 100_000_000, base: folder });
  const store = openStore(pathToFileURL(folder).href);
  closer.add('the engine harness', () => harness.close());
  afterAll(() => closer.close());

  /** Another replica, built like the program: its own feed and metrics, the same database. */
  async function openReplica({
    heartbeatMs = 15_000,
    bounds = noBounds,
    dashboard = null,
  }: {
    heartbeatMs?: number;
    bounds?: ServerBounds;
    dashboard?: Dashboard | null;
  } = {}) {
    const own = createCloser();
    closer.add('a replica', () => own.close());
    const feed = createEventFeed({ prisma, databaseUrl, log, pollMs: 500, hintMs: 100 });
    own.add('the event feed', () => feed.close());
    const servers = await buildServers(
      {
        prisma,
        engine,
        recipes: harness.ctx.recipes,
        feed,
        // More than any test needs, so that nothing is refused on a busy machine.
        connections: 256,
        bounds,
        store,
        serverKey,
        datasetRoots: async () => [await realpath(tmpdir()), ...datasetUrls],
        cache,
        childEnvironment: localAgentEnvironment(process.env, () => false),
        log,
        metrics: createMetrics({ processMetrics: false }),
        dashboard,
        heartbeatMs,
      },
      own,
    );
    return { ...servers, feed, close: () => own.close() };
  }

  const { api, internal, metricsServer, feed } = await openReplica();

  type Call = { body?: unknown; octets?: Buffer; headers?: Record<string, string>; query?: Record<string, string> };

  /** Calls the public server with the token of a role, or without one. */
  async function call(
    role: TokenRole | null,
    method: 'GET' | 'POST' | 'PUT' | 'DELETE',
    url: string,
    { body, octets, headers = {}, query }: Call = {},
  ) {
    const options: InjectOptions = {
      method,
      url,
      headers: { ...headers, ...(role === null ? {} : { authorization: `Bearer ${secrets[role]}` }) },
    };
    if (query !== undefined) options.query = query;
    if (body !== undefined)
      Object.assign(options, { payload: JSON.stringify(body), headers: { ...options.headers, 'content-type': 'application/json' } });
    if (octets !== undefined)
      Object.assign(options, { payload: octets, headers: { ...options.headers, 'content-type': 'application/octet-stream' } });
    const answer = await api.inject(options);
    const isJson = String(answer.headers['content-type'] ?? '').includes('json');
    return { status: answer.statusCode, headers: answer.headers, text: answer.body, json: isJson ? answer.json() : null };
  }

  /** Calls the internal server as an attempt. */
  async function callAsAttempt(
    attemptId: string,
    method: 'GET' | 'POST',
    path: string,
    {
      body,
      generation = 1,
      token,
      headers,
    }: { body?: unknown; generation?: number; token?: string; headers?: Record<string, string> } = {},
  ) {
    const answer = await internal.inject({
      method,
      url: `/internal/v1/attempts/${attemptId}${path}`,
      headers: {
        authorization: `Bearer ${token ?? attemptToken(serverKey, attemptId, generation)}`,
        'x-cairn-generation': String(generation),
        ...headers,
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      },
      ...(body === undefined ? {} : { payload: JSON.stringify(body) }),
    });
    return { status: answer.statusCode, json: answer.json() };
  }

  return {
    harness,
    prisma,
    engine,
    store,
    folder,
    api,
    internal,
    metricsServer,
    feed,
    secrets,
    serverKey,
    log,
    call,
    callAsAttempt,
    openReplica,
  };
}
export type TestApi = Awaited<ReturnType<typeof openTestApi>>;
