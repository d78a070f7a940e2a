// CI runs this when k8s change, else one time in three; it takes about 5 s.
import { expect, test } from 'vitest';
import { render } from './testing/chart.ts';
import { attemptsOf, of } from './testing/manifests.ts';

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
