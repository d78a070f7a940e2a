import { type TokenRole, tokenRole } from '@cairn/contract';
import { attemptToken, newId } from '@cairn/runtime';
import type { InjectOptions } from 'fastify';
import { describe, expect, test } from 'vitest';
import type { App } from '../http/bare-app.ts';
import { openTestApi } from '../testing/test-api.ts';
import { hashSecret, newSecret } from './secrets.ts';

const { api, internal, metricsServer, prisma, secrets, serverKey } = await openTestApi();

/** Who may call a route: everyone, a token of at least this role, or the attempt in the path. */
type Decision = 'open' | TokenRole | 'attempt';

/** Every route of the public server. A route missing here or on the server fails the first test. */
const publicRoutes: Record<string, Decision> = {
  'GET /healthz': 'open',
  'GET /readyz': 'open',
  'GET /openapi.json': 'open',
  'GET /recipe.schema.json': 'open',
  'GET /docs': 'open',
  'GET /docs/': 'open',
  'GET /docs/js/scalar.js': 'open',
  'GET /metrics': 'viewer',
  'POST /v1/session': 'open',
  'DELETE /v1/session': 'open',
  'GET /v1/me': 'viewer',
  'GET /v1/attention': 'viewer',
  'GET /v1/runs': 'viewer',
  'POST /v1/runs': 'submitter',
  'GET /v1/runs/comparison': 'viewer',
  'GET /v1/runs/:id': 'viewer',
  'POST /v1/runs/:id/cancel': 'submitter',
  'POST /v1/runs/:id/annotate': 'submitter',
  'POST /v1/runs/:id/retry': 'submitter',
  'POST /v1/runs/:id/release': 'admin',
  'GET /v1/runs/:id/events': 'viewer',
  'POST /v1/runs/:id/gate': 'submitter',
  'GET /v1/runs/:id/judgements': 'viewer',
  'GET /v1/gate': 'viewer',
  'POST /v1/gate/baseline': 'submitter',
  'GET /v1/runs/:id/lineage': 'viewer',
  'GET /v1/runs/:id/timeline': 'viewer',
  'GET /v1/runs/:id/steps/:name': 'viewer',
  'GET /v1/runs/:id/steps/:name/attempts': 'viewer',
  'GET /v1/runs/:id/steps/:name/metrics': 'viewer',
  'GET /v1/runs/:id/steps/:name/checkpoints': 'viewer',
  'GET /v1/runs/:id/steps/:name/shards': 'viewer',
  'GET /v1/attempts/:id': 'viewer',
  'GET /v1/attempts/:id/logs': 'viewer',
  'GET /v1/attempts/:id/logs/lines': 'viewer',
  'GET /v1/attempts/:id/logs/search': 'viewer',
  'GET /v1/attempts/:id/tensorboard': 'viewer',
  'GET /v1/attempts/:id/tensorboard/:name': 'viewer',
  'GET /v1/events': 'viewer',
  'GET /v1/datasets': 'viewer',
  'POST /v1/datasets': 'submitter',
  'GET /v1/datasets/:name': 'viewer',
  'GET /v1/datasets/:name/images/:id': 'viewer',
  'GET /v1/datasets/:name/usage': 'viewer',
  'GET /v1/weights': 'viewer',
  'GET /v1/weights/:name': 'viewer',
  'PUT /v1/weights/:name': 'submitter',
  // Those of another owner: admin.
  'DELETE /v1/weights/:name': 'submitter',
  'GET /v1/schedules': 'viewer',
  'GET /v1/schedules/:name': 'viewer',
  'POST /v1/schedules': 'submitter',
  // Those of another owner: admin.
  'POST /v1/schedules/:name/pause': 'submitter',
  'POST /v1/schedules/:name/resume': 'submitter',
  'POST /v1/schedules/:name/run': 'submitter',
  'DELETE /v1/schedules/:name': 'submitter',
  'GET /v1/recipes': 'viewer',
  'GET /v1/recipes/:name': 'viewer',
  'GET /v1/models': 'viewer',
  'GET /v1/models/:name': 'viewer',
  'GET /v1/models/:name/lineage': 'viewer',
  'GET /v1/models/:name/aliases': 'viewer',
  'GET /v1/models/:name/card': 'viewer',
  'GET /v1/models/:name/card.md': 'viewer',
  'GET /v1/artifacts/:id/files/:file': 'viewer',
  'GET /v1/models/:name/aliases/:alias/moves': 'viewer',
  'PUT /v1/models/:name/aliases/:alias': 'submitter',
  'POST /v1/models/:name/aliases/:alias/rollback': 'submitter',
  'DELETE /v1/models/:name/aliases/:alias': 'submitter',
  'GET /v1/artifacts/:id': 'viewer',
  'GET /v1/evaluation': 'viewer',
  'GET /v1/evaluation/queries': 'viewer',
  'GET /v1/evaluation/distribution': 'viewer',
  'GET /v1/evaluation/neighbours': 'viewer',
  'GET /v1/evaluation/lineage': 'viewer',
  'GET /v1/runs/:id/steps/:name/shards/grid': 'viewer',
  'GET /v1/runs/:id/steps/:name/rejected': 'viewer',
  'POST /v1/search': 'submitter',
  'GET /v1/comparison': 'viewer',
  'GET /v1/fleet': 'viewer',
  'GET /v1/fleet/work': 'viewer',
  'GET /v1/ledger': 'viewer',
  'GET /v1/ledger.csv': 'viewer',
  'GET /v1/views': 'viewer',
  'PUT /v1/views/:name': 'viewer',
  'DELETE /v1/views/:name': 'viewer',
  'GET /v1/retention': 'viewer',
  'PUT /v1/retention': 'admin',
  'PUT /v1/runs/:id/pin': 'submitter',
  'DELETE /v1/runs/:id/pin': 'submitter',
  'GET /v1/budgets': 'viewer',
  'PUT /v1/budgets/:scope': 'admin',
  'DELETE /v1/budgets/:scope': 'admin',
  'POST /v1/gc': 'admin',
  'GET /v1/webhooks': 'admin',
  'POST /v1/webhooks': 'admin',
  'GET /v1/webhooks/:name': 'admin',
  'DELETE /v1/webhooks/:name': 'admin',
  'POST /v1/webhooks/:name/rotate': 'admin',
  'POST /v1/webhooks/:name/test': 'admin',
  'GET /v1/webhooks/:name/deliveries': 'admin',
  'GET /v1/webhooks/:name/deliveries/:delivery': 'admin',
  'POST /v1/webhooks/:name/deliveries/:delivery/resend': 'admin',
  'GET /v1/code-hosts': 'admin',
  'POST /v1/code-hosts': 'admin',
  'GET /v1/code-hosts/:name': 'admin',
  'PUT /v1/code-hosts/:name/token': 'admin',
  'DELETE /v1/code-hosts/:name': 'admin',
  'GET /v1/code-hosts/:name/deliveries': 'admin',
  'GET /v1/tokens': 'admin',
  'POST /v1/tokens': 'admin',
  'DELETE /v1/tokens/:id': 'admin',
  'GET /v1/triggers': 'viewer',
  'POST /v1/triggers': 'submitter',
  'GET /v1/triggers/:name': 'viewer',
  // Those of another owner: admin.
  'DELETE /v1/triggers/:name': 'submitter',
  'POST /v1/triggers/:name/rotate': 'submitter',
  'GET /v1/triggers/:name/deliveries': 'viewer',
  'POST /v1/triggers/:name/deliveries/:id/release': 'submitter',
  // Its signature decides.
  'POST /v1/hooks/:trigger': 'open',
  'GET /v1/secrets': 'admin',
  'POST /v1/secrets/reseal': 'admin',
  'GET /v1/audit': 'admin',
};

const internalRoutes: Record<string, Decision> = {
  'GET /healthz': 'open',
  'GET /readyz': 'open',
  'GET /internal/v1/attempts/:id': 'attempt',
  'POST /internal/v1/attempts/:id/start': 'attempt',
  'POST /internal/v1/attempts/:id/reports': 'attempt',
  'POST /internal/v1/attempts/:id/shards/claim': 'attempt',
  'GET /internal/v1/attempts/:id/shards/files': 'attempt',
  'POST /internal/v1/attempts/:id/shards/:index/commit': 'attempt',
  'POST /internal/v1/attempts/:id/shards/:index/release': 'attempt',
  'POST /internal/v1/attempts/:id/finish': 'attempt',
};

const servers = [
  { name: 'public', app: api, decisions: publicRoutes },
  { name: 'internal', app: internal, decisions: internalRoutes },
  { name: 'metrics', app: metricsServer, decisions: { 'GET /metrics': 'open' } satisfies Record<string, Decision> },
];

/** The routes of a server, from the tree that Fastify prints: `│   └── /cancel (POST)` below its parents. */
function routesOf(app: App): string[] {
  const above: string[] = [];
  return app
    .printRoutes({ commonPrefix: false })
    .split('\n')
    .flatMap((line) => {
      const [, indent = '', part = '', methods] = /^([│├└─ ]*)(\S+)(?: \(([A-Z, ]+)\))?$/.exec(line) ?? [];
      const depth = indent.length / 4;
      above.splice(depth - 1, above.length, part);
      return methods === undefined ? [] : methods.split(', ').map((method) => `${method} ${above.join('')}`);
    });
}

test.each(servers)('every route of the $name server has a decision', ({ app, decisions }) => {
  expect(routesOf(app).toSorted()).toEqual(Object.keys(decisions).toSorted());
});

const attemptId = newId('attempt');
const [revoked, expired] = [newSecret(), newSecret()];
await prisma.token.createMany({
  data: [
    { id: newId('token'), projectId: 'default', name: 'revoked', role: 'admin', hash: hashSecret(revoked), revokedAt: new Date() },
    { id: newId('token'), projectId: 'default', name: 'expired', role: 'admin', hash: hashSecret(expired), expiresAt: new Date(0) },
  ],
});

/** Every kind of token: what it may call, in addition to open routes. */
const tokens: { kind: string; secret: string | null; may: (decision: Decision) => boolean; refusal: 401 | 403 }[] = [
  { kind: 'no token', secret: null, may: () => false, refusal: 401 },
  { kind: 'an unknown token', secret: newSecret(), may: () => false, refusal: 401 },
  { kind: 'a revoked admin', secret: revoked, may: () => false, refusal: 401 },
  { kind: 'an expired admin', secret: expired, may: () => false, refusal: 401 },
  ...tokenRole.options.map((role) => ({
    kind: `a ${role}`,
    secret: secrets[role],
    may: (decision: Decision) =>
      tokenRole.options.some((needed) => needed === decision && tokenRole.options.indexOf(role) >= tokenRole.options.indexOf(needed)),
    refusal: 403 as const,
  })),
  { kind: 'the attempt', secret: attemptToken(serverKey, attemptId, 1), may: (decision) => decision === 'attempt', refusal: 401 },
  { kind: 'another attempt', secret: attemptToken(serverKey, newId('attempt'), 1), may: () => false, refusal: 401 },
  { kind: 'the attempt in another generation', secret: attemptToken(serverKey, attemptId, 2), may: () => false, refusal: 401 },
];

describe.each(servers)('the $name server', ({ app, decisions }) => {
  test.each(tokens)('admits $kind exactly where the table says so', async ({ secret, may, refusal }) => {
    for (const [route, decision] of Object.entries(decisions)) {
      const [method = '', url = ''] = route.split(' ');
      const { statusCode } = await app.inject(request(method, url, secret));
      const isLetIn = decision === 'open' || may(decision);
      // On /internal a person's token counts as missing.
      const expected = decision === 'attempt' ? 401 : refusal;
      if (isLetIn) expect([401, 403], route).not.toContain(statusCode);
      else expect(statusCode, route).toBe(expected);
    }
  });
});

/** A call that changes nothing where it is admitted: no schema accepts its ids and its body. */
function request(method: string, url: string, secret: string | null): InjectOptions {
  const headers = { 'x-cairn-generation': '1', ...(secret === null ? {} : { authorization: `Bearer ${secret}` }) };
  return {
    method: method as InjectOptions['method'] & string,
    url: url.replace('/attempts/:id', `/attempts/${attemptId}`).replaceAll(/:\w+/g, '-'),
    ...(method === 'POST' ? { payload: '0', headers: { ...headers, 'content-type': 'application/json' } } : { headers }),
  };
}
