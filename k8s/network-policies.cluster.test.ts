// CI runs this when k8s changes, else one time in three; it takes about 5 s.
import { expect, test } from 'vitest';
import { z } from 'zod';
import { at, attemptsOf, changed, environmentOf, everything, minimal, of, render } from './testing/chart.ts';

test('attempts reach object storage, DNS and /internal alone, and nobody reaches them', async () => {
  const policies = of((await render()).manifests, 'NetworkPolicy');
  const attempts = policies.find(({ metadata }) => metadata.name === 'cairn-attempt');
  const labels = { 'app.kubernetes.io/name': 'cairn', 'app.kubernetes.io/instance': 'cairn' };
  expect(attempts?.spec).toEqual({
    podSelector: { matchLabels: attemptsOf('ml.cairn') },
    policyTypes: ['Ingress', 'Egress'],
    ingress: [],
    egress: [
      { to: [{ ipBlock: { cidr: '10.20.0.0/16' } }], ports: [{ protocol: 'TCP', port: 443 }] },
      {
        to: [{ namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': 'kube-system' } } }],
        ports: [
          { protocol: 'UDP', port: 53 },
          { protocol: 'TCP', port: 53 },
        ],
      },
      {
        to: [
          {
            namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': 'ml' } },
            podSelector: { matchLabels: { ...labels, 'app.kubernetes.io/component': 'api' } },
          },
        ],
        ports: [{ protocol: 'TCP', port: 8081 }],
      },
    ],
  });
});

/** Ports by which the api is reached, with who may. */
async function ingressOf(values = minimal) {
  const policies = of((await render(values)).manifests, 'NetworkPolicy');
  const rules = z
    .array(z.object({ ports: z.tuple([z.object({ port: z.number() })]), from: z.array(z.unknown()).optional() }))
    .parse(at(policies.find(({ metadata }) => metadata.name === 'cairn-api')?.spec, 'ingress'));
  return rules.map(({ ports: [{ port }], from }) => ({ port, from }));
}

test('nobody reaches /v1 and /metrics whom the values do not name', async () => {
  expect((await ingressOf()).map(({ port }) => port)).toEqual([8081]);
  const named = await ingressOf(everything);
  expect(named.map(({ port }) => port)).toEqual([8080, 8082, 8081]);
  // A rule without peers lets everybody in.
  for (const { from } of named) expect(from?.length).toBeGreaterThan(0);
});

test('the control plane reaches the destinations in the values, storage, DNS and /internal, or is not restricted', async () => {
  const egressOf = async (values = minimal) =>
    of((await render(values)).manifests, 'NetworkPolicy').find(({ metadata }) => metadata.name === 'cairn-egress')?.spec;
  expect(await egressOf()).toBeUndefined();
  const controlPlaneEgress = [{ to: [{ ipBlock: { cidr: '10.30.0.7/32' } }], ports: [{ port: 5432 }] }];
  const spec = await egressOf(changed(minimal, { networkPolicy: { controlPlaneEgress } }));
  expect(spec).toMatchObject({
    podSelector: { matchExpressions: [{ values: ['api', 'controller', 'task-worker', 'migrate'] }] },
    policyTypes: ['Egress'],
  });
  const rules = z.array(z.object({ ports: z.array(z.object({ port: z.number() })) })).parse(at(spec, 'egress'));
  expect(rules.map(({ ports }) => ports.map(({ port }) => port))).toEqual([[443], [53, 53], [8081], [5432]]);
});

test('Prometheus is sent to the port on which the api serves /metrics without a token', async () => {
  const { manifests } = await render(everything);
  const port = Number(environmentOf(manifests, 'cairn-api').CAIRN_METRICS_PORT);
  const service = of(manifests, 'Service').find(({ metadata }) => metadata.name === 'cairn-internal');
  const monitor = of(manifests, 'ServiceMonitor')[0];
  expect(at(service?.spec, 'ports')).toContainEqual(expect.objectContaining({ name: 'metrics', port }));
  expect(at(monitor?.spec, 'endpoints')).toMatchObject([{ port: 'metrics', path: '/metrics' }]);
  expect(service?.metadata.labels).toMatchObject(z.record(z.string(), z.string()).parse(at(monitor?.spec, 'selector', 'matchLabels')));
  const [pods] = of(manifests, 'PodMonitor');
  const controller = of(manifests, 'Deployment').find(({ metadata }) => metadata.name === 'cairn-controller');
  expect(at(controller?.spec, 'template', 'metadata', 'labels')).toMatchObject(
    z.record(z.string(), z.string()).parse(at(pods?.spec, 'selector', 'matchLabels')),
  );
  expect(at(pods?.spec, 'podMetricsEndpoints')).toMatchObject([{ port: 'probes', path: '/metrics' }]);
  const policy = (values = minimal) =>
    render(values).then((one) => of(one.manifests, 'NetworkPolicy').find(({ metadata }) => metadata.name === 'cairn-controller'));
  expect(at((await policy(everything))?.spec, 'ingress')).toMatchObject([{ ports: [{ port: 8082 }], from: [expect.anything()] }]);
  expect(await policy()).toBeUndefined();
  // The Service of /v1, which may be a load balancer's, does not have it.
  expect(at(of(manifests, 'Service').find(({ metadata }) => metadata.name === 'cairn')?.spec, 'ports')).toHaveLength(1);
});
