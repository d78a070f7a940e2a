import type { TokenRole } from '@cairn/contract';
import { loadRecipes } from '@cairn/engine';
import { openStage } from '@cairn/engine/testing';
import { attemptToken, createLogger, createMetrics, newId } from '@cairn/runtime';
import type { InjectOptions } from 'fastify';
import { afterAll } from 'vitest';
import { createAdmissionCache } from '../admission-cache.ts';
import { hashSecret, newSecret } from '../auth/secrets.ts';
import { type ApiDeps, buildApi } from '../build-api.ts';
import { buildInternalApi } from '../build-internal-api.ts';
import { createEventFeed } from '../events/feed.ts';
import { inspectSource } from '../inspect-source.ts';
import { locatorOf } from '../storage-access.ts';

const roles = ['viewer', 'submitter', 'admin'] as const satisfies readonly TokenRole[];
const serverKey = 'a server key for tests, 32 or more';

/** Both servers over a database of the test file's own, with the real engine, a token a role and ways to play the controller. */
export async function openTestApi() {
  const stage = await openStage();
  const { prisma, engine, databaseUrl } = stage;
  // The stage's lead, for as long as a slow machine may take.
  await prisma.$executeRaw`update leadership set expires_at = now() + interval '1 hour'`;
  const log = createLogger({ name: 'test', level: 'silent' });
  const secrets = { viewer: newSecret(), submitter: newSecret(), admin: newSecret() };
  await prisma.token.createMany({
    data: roles.map((role) => ({ id: newId('token'), projectId: 'default', name: `a-${role}`, role, hash: hashSecret(secrets[role]) })),
  });
  const closes: (() => unknown)[] = [];

  /** One more replica of the public server: its own feed and metrics, the same database. */
  async function openReplica(change: Partial<ApiDeps> = {}) {
    const feed = createEventFeed({ prisma, databaseUrl, log, pollMs: 500, hintMs: 100 });
    const api = await buildApi({
      prisma,
      engine,
      feed,
      admission: createAdmissionCache(prisma),
      recipes: await loadRecipes(),
      inspectSource,
      locate: locatorOf('file:///storage'),
      log,
      metrics: createMetrics({ processMetrics: false }),
      ...change,
    });
    const close = async () => {
      await api.close();
      feed.close();
    };
    closes.push(close);
    return { api, feed, close };
  }

  const { api, feed } = await openReplica();
  const internal = await buildInternalApi({ prisma, engine, serverKey, log, metrics: createMetrics({ processMetrics: false }) });
  closes.push(() => internal.close());
  afterAll(async () => {
    for (const close of closes.toReversed()) await close();
    await stage.close();
  });

  type Call = { body?: unknown; headers?: Record<string, string>; query?: Record<string, string> };

  /** Calls the public server with the token of a role, or without one. */
  async function call(role: TokenRole | null, method: 'GET' | 'POST' | 'DELETE', url: string, { body, headers = {}, query }: Call = {}) {
    const options: InjectOptions = {
      method,
      url,
      headers: { ...headers, ...(role === null ? {} : { authorization: `Bearer ${secrets[role]}` }) },
    };
    if (query !== undefined) options.query = query;
    if (body !== undefined)
      Object.assign(options, { payload: JSON.stringify(body), headers: { ...options.headers, 'content-type': 'application/json' } });
    const answer = await api.inject(options);
    const isJson = String(answer.headers['content-type'] ?? '').includes('json');
    return { status: answer.statusCode, headers: answer.headers, text: answer.body, json: isJson ? answer.json() : null };
  }

  /** Calls the internal server as an attempt. */
  async function callAsAttempt(
    attemptId: string,
    method: 'GET' | 'POST',
    path: string,
    { body, generation = 1, token }: { body?: unknown; generation?: number; token?: string } = {},
  ) {
    const answer = await internal.inject({
      method,
      url: `/internal/v1/attempts/${attemptId}${path}`,
      headers: {
        authorization: `Bearer ${token ?? attemptToken(serverKey, attemptId, generation)}`,
        'x-cairn-generation': String(generation),
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      },
      ...(body === undefined ? {} : { payload: JSON.stringify(body) }),
    });
    return { status: answer.statusCode, json: answer.json() };
  }

  return { stage, prisma, engine, api, internal, feed, secrets, serverKey, log, call, callAsAttempt, openReplica };
}
export type TestApi = Awaited<ReturnType<typeof openTestApi>>;
