import { readFile } from 'node:fs/promises';
import { createMetrics } from '@cairn/runtime';
import { expect, test } from 'vitest';
import { z } from 'zod';
import { openTestApi } from '../testing/test-api.ts';

const { metricsServer, internal, call } = await openTestApi();

const dashboardUrl = new URL('../../../k8s/grafana/cairn.json', import.meta.url);
const dashboard = z
  .object({ panels: z.array(z.object({ title: z.string(), targets: z.array(z.object({ expr: z.string() })).default([]) })) })
  .parse(JSON.parse(await readFile(dashboardUrl, 'utf8')));
const queries = dashboard.panels.flatMap((panel) => panel.targets.map(({ expr }) => ({ panel: panel.title, expr })));
/** Labels that Prometheus adds to every series that it scrapes in a cluster, and that a histogram adds to its buckets. */
const foreignLabels = ['namespace', 'pod', 'le'];

test('the dashboard queries only metrics and labels that /metrics has', async () => {
  await call('viewer', 'GET', '/v1/runs');
  await internal.inject({ method: 'GET', url: '/healthz' });
  const { body: own } = await metricsServer.inject({ method: 'GET', url: '/metrics' });
  // Test servers have no process metrics.
  const body = own + (await createMetrics().render()).body;
  const names = new Set([...body.matchAll(/^(\w+)(?:\{| )/gm)].map(([, name]) => name));
  const labels = new Set([...body.matchAll(/[{,](\w+)="/g)].map(([, label]) => label));
  // Only its TYPE line exists while there is no live attempt.
  for (const [, name] of body.matchAll(/^# TYPE (\w+) gauge$/gm)) names.add(name);

  const faults = queries.flatMap(({ panel, expr }) => {
    const unknownNames = [...expr.matchAll(/cairn_\w+/g)].map(([name]) => name).filter((name) => !names.has(name));
    const grouped = [...expr.matchAll(/by \(([^)]*)\)/g)].flatMap(([, list = '']) => list.split(',').map((label) => label.trim()));
    const matched = [...expr.matchAll(/(\w+)(?:=~|!~|!=|=)"/g)].map(([, label = '']) => label);
    const unknownLabels = [...grouped, ...matched].filter((label) => !foreignLabels.includes(label) && !labels.has(label));
    return [...unknownNames, ...unknownLabels].map((name) => `${panel}: ${name}`);
  });
  expect(queries.length).toBeGreaterThan(10);
  expect(faults).toEqual([]);
});

test('the dashboard selects existing states and pools', async () => {
  const { body } = await metricsServer.inject({ method: 'GET', url: '/metrics' });
  for (const { expr, panel } of queries) {
    for (const [, label, values = ''] of expr.matchAll(/(state|pool)=~?"([^"]+)"/g))
      for (const value of values.split('|')) expect(body, panel).toContain(`${label}="${value}"`);
  }
});

test('on the port of /v1 it requires a token, on its own port it does not', async () => {
  expect((await call(null, 'GET', '/metrics')).status).toBe(401);
  expect((await call('viewer', 'GET', '/metrics')).text).toContain('cairn_database_up 1');
  expect((await metricsServer.inject('/metrics')).body).toContain('cairn_database_up 1');
  expect((await metricsServer.inject('/v1/runs')).statusCode).toBe(404);
});
