// CI runs this when k8s changes, else one time in three; it takes about 10 s.
import type { Manifest } from '@cairn/testing';
import { expect, test } from 'vitest';
import { z } from 'zod';
import {
  changed,
  controllerRoles,
  environmentOf,
  everything,
  minimal,
  of,
  podSpecs,
  poolsOf,
  render,
  workerImage,
} from './testing/chart.ts';

test("the controller's Role is this list and nothing more, in each namespace of a pool", async () => {
  const { manifests } = await render();
  expect(controllerRoles(manifests).map((role) => [role.metadata.namespace, role.rules])).toEqual([
    [
      'ml',
      [
        { apiGroups: ['batch'], resources: ['jobs'], verbs: ['create', 'get', 'list', 'watch', 'delete'] },
        { apiGroups: [''], resources: ['pods'], verbs: ['list', 'watch', 'delete'] },
        { apiGroups: [''], resources: ['pods/log'], verbs: ['get'] },
        { apiGroups: [''], resources: ['events'], verbs: ['list'] },
        { apiGroups: [''], resources: ['secrets'], verbs: ['create', 'patch', 'delete'] },
      ],
    ],
  ]);
  expect(of(manifests, 'ClusterRole').map((role) => role.rules)).toEqual([
    [{ apiGroups: [''], resources: ['nodes', 'pods'], verbs: ['list', 'watch'] }],
  ]);
  const pools = ['far-away', 'further-away'].map((namespace) => ({
    name: namespace,
    slots: 8,
    settings: { image: workerImage, namespace },
  }));
  const swept = (await render(changed(minimal, { pools, rbac: { sweepSecrets: true } }))).manifests;
  expect(controllerRoles(swept).map((role) => role.metadata.namespace)).toEqual(['far-away', 'further-away']);
  for (const role of controllerRoles(swept)) {
    expect(role.rules).toContainEqual({ apiGroups: [''], resources: ['secrets'], verbs: ['create', 'patch', 'delete', 'list'] });
  }
});

test('where a pool hands its Jobs to Kueue the controller may read why they wait there, and nowhere else', async () => {
  const pools = [
    { name: 'queued', slots: 8, settings: { image: workerImage, namespace: 'queued', kueue: { queueName: 'gpus' } } },
    { name: 'plain', slots: 8, settings: { image: workerImage, namespace: 'plain' } },
  ];
  const roles = controllerRoles((await render(changed(minimal, { pools }))).manifests);
  const ofKueue = [
    { apiGroups: ['kueue.x-k8s.io'], resources: ['workloads'], verbs: ['list', 'watch'] },
    { apiGroups: ['kueue.x-k8s.io'], resources: ['localqueues'], verbs: ['get'] },
    { apiGroups: ['visibility.kueue.x-k8s.io'], resources: ['localqueues/pendingworkloads'], verbs: ['get'] },
  ];
  const rulesIn = (namespace: string) => z.array(z.unknown()).parse(roles.find(({ metadata }) => metadata.namespace === namespace)?.rules);
  expect(rulesIn('queued')).toEqual([...rulesIn('plain'), ...ofKueue]);
});

test('only the controller is bound to rights and given a token, while the release is there', async () => {
  const manifests = (await render(everything)).manifests.filter((one) => one.metadata.annotations?.['helm.sh/hook'] !== 'post-delete');
  const bindings = [...of(manifests, 'RoleBinding'), ...of(manifests, 'ClusterRoleBinding')];
  expect(bindings).toHaveLength(4);
  for (const binding of bindings) expect(binding.subjects).toEqual([{ kind: 'ServiceAccount', name: 'cairn-controller', namespace: 'ml' }]);
  const tokens = Object.fromEntries(podSpecs(manifests).map(({ name, spec }) => [name, spec.automountServiceAccountToken]));
  expect(tokens).toMatchObject({ 'cairn-api': false, 'cairn-controller': true, 'cairn-task-worker': false, 'cairn-migrate': false });
});

test('the uninstall removes attempts in every namespace of a pool, with an account that has no other rights and goes with it', async () => {
  const ofUninstall = ({ metadata }: Manifest) => metadata.labels?.['app.kubernetes.io/component'] === 'uninstall';
  const hooks = (await render(everything)).manifests.filter(ofUninstall);
  for (const { kind, metadata } of hooks)
    expect(metadata.annotations, kind).toMatchObject({
      'helm.sh/hook': 'post-delete',
      'helm.sh/hook-weight': kind === 'Job' ? '0' : '-5',
      'helm.sh/hook-delete-policy': 'before-hook-creation,hook-succeeded,hook-failed',
    });
  expect(of(hooks, 'Role').map(({ metadata, rules }) => [metadata.namespace, rules])).toEqual(
    ['far-away', 'further-away', 'ml'].map((namespace) => [
      namespace,
      [
        { apiGroups: ['batch'], resources: ['jobs'], verbs: ['list', 'delete'] },
        { apiGroups: [''], resources: ['secrets'], verbs: ['deletecollection'] },
      ],
    ]),
  );
  const [job] = podSpecs(hooks);
  expect(job?.spec).toMatchObject({ serviceAccountName: 'cairn-uninstall', automountServiceAccountToken: true });
  const controller = environmentOf((await render(everything)).manifests, 'cairn-controller');
  const { CAIRN_POOLS, CAIRN_INSTANCE } = controller;
  expect(environmentOf(hooks, 'cairn-uninstall')).toEqual({ CAIRN_POOLS, CAIRN_INSTANCE, HOME: '/tmp' });
  const without = await render(changed(minimal, { uninstall: { removeAttempts: false } }));
  expect(without.manifests.filter(ofUninstall)).toEqual([]);
});

test("attempts run under the chart's account without rights, unless their pool names another", async () => {
  const { manifests } = await render(everything);
  expect(poolsOf(manifests).map(({ settings }) => [settings.namespace, settings.serviceAccountName])).toEqual([
    ['ml', 'cairn-attempt'],
    ['far-away', 'own'],
    ['further-away', 'ml-cairn-attempt'],
  ]);
  const accounts = of(manifests, 'ServiceAccount').filter(({ metadata }) => metadata.name.endsWith('-attempt'));
  expect(accounts.map(({ metadata }) => [metadata.namespace, metadata.name])).toEqual([
    ['further-away', 'ml-cairn-attempt'],
    ['ml', 'cairn-attempt'],
  ]);
  for (const account of accounts) expect(account.automountServiceAccountToken).toBe(false);
});

test('rights, accounts and policies can be left to others', async () => {
  const account = { create: false, name: 'theirs' };
  const { manifests } = await render(
    changed(minimal, {
      rbac: { create: false },
      networkPolicy: { enabled: false },
      podDisruptionBudget: { enabled: false },
      serviceAccounts: { controlPlane: account, controller: account, attempts: { create: false } },
      migrations: { enabled: false },
      adminToken: { enabled: false },
    }),
  );
  expect([...new Set(manifests.map(({ kind }) => kind))].sort()).toEqual(['Deployment', 'Secret', 'Service']);
  for (const { spec } of podSpecs(manifests)) expect(spec.serviceAccountName).toBe('theirs');
  expect(poolsOf(manifests)[0]?.settings).not.toHaveProperty('serviceAccountName');
});
