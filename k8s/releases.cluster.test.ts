// CI runs this when k8s changes, else one time in three; it takes about 5 s.
import { expect, test } from 'vitest';
import { z } from 'zod';
import { at, attemptsOf, changed, instanceOf, minimal, of, render, workerImage } from './testing/chart.ts';

test('names of two releases that share a namespace of attempts do not collide', async () => {
  const { manifests } = await render(shared);
  const there = manifests.filter(({ metadata }) => metadata.namespace === 'shared');
  expect(there.map(({ kind, metadata }) => `${kind} ${metadata.name}`).sort()).toEqual([
    'NetworkPolicy ml-cairn-attempt',
    'Role ml-cairn-controller',
    'Role ml-cairn-uninstall',
    'RoleBinding ml-cairn-controller',
    'RoleBinding ml-cairn-uninstall',
    'ServiceAccount ml-cairn-attempt',
  ]);
});

test('attempts carry a name that no other release has, though its own name and its pools are the same', async () => {
  const instance = async (namespace: string, release: string, values = shared) =>
    instanceOf((await render(values, namespace, release)).manifests);
  const long = 'n'.repeat(63);
  const releases = [
    ['ml', 'cairn'],
    ['ml-2', 'cairn'],
    ['ml', '2.cairn'],
    [long, 'cairn'],
    [long, 'cairn-2'],
  ] as const;
  const instances = await Promise.all(releases.map(([namespace, release]) => instance(namespace, release)));
  expect(instances.slice(0, 3)).toEqual(['ml.cairn', 'ml-2.cairn', 'ml.2.cairn']);
  expect(new Set(instances).size).toBe(releases.length);
  for (const one of instances) expect(one).toMatch(/^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$/);
  expect(await instance('ml', 'cairn', changed(shared, { instanceOverride: 'cairn' }))).toBe('cairn');
});

test('the policies of a release are for its attempts and for no other release', async () => {
  const { manifests } = await render(shared, 'ml-2');
  const policies = of(manifests, 'NetworkPolicy');
  expect(
    at(
      policies.find(({ metadata }) => metadata.namespace === 'shared'),
      'spec',
      'podSelector',
    ),
  ).toEqual({
    matchLabels: attemptsOf('ml-2.cairn'),
  });
  const api = policies.find(({ metadata }) => metadata.name === 'cairn-api');
  const [internal] = z.array(z.unknown()).parse(at(api, 'spec', 'ingress'));
  expect(at(internal, 'from')).toContainEqual({
    namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': 'shared' } },
    podSelector: { matchLabels: attemptsOf('ml-2.cairn') },
  });
});

const shared = changed(minimal, { pools: [{ name: 'gpu', slots: 1, settings: { image: workerImage, namespace: 'shared' } }] });
