// CI runs this when k8s changes, else one time in three; it takes about 30 s.
import { randomBytes } from 'node:crypto';
import { helm } from '@cairn/testing';
import {
  AuthorizationV1Api,
  CoreV1Api,
  KubeConfig,
  KubernetesObjectApi,
  PatchStrategy,
  RbacAuthorizationV1Api,
} from '@kubernetes/client-node';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { changed, chart, everything, minimal, render, withValues, workerImage } from './testing/chart.ts';

const kubeConfig = new KubeConfig();
kubeConfig.loadFromDefault();
const core = kubeConfig.makeApiClient(CoreV1Api);
const authorization = kubeConfig.makeApiClient(AuthorizationV1Api);
const rbac = kubeConfig.makeApiClient(RbacAuthorizationV1Api);

const namespace = `cairn-chart-${randomBytes(4).toString('hex')}`;
const attempts = `${namespace}-attempts`;
const values = changed(minimal, {
  // No image and no database: what is asked is what the cluster says of the objects.
  image: { repository: 'cairn.invalid/control-plane' },
  taskWorker: { resources: { requests: { cpu: '10m', memory: '16Mi' } } },
  pools: [{ name: 'gpu', slots: 8, settings: { image: workerImage, namespace: attempts } }],
  ingress: { enabled: true, host: 'cairn.example' },
});
const helmLimit = ['--namespace', namespace, '--timeout', '30s'];

beforeAll(async () => {
  const labels = { 'pod-security.kubernetes.io/enforce': 'restricted' };
  for (const name of [namespace, attempts]) await core.createNamespace({ body: { metadata: { name, labels } } });
  // The server refuses unknown fields and wrong values; hooks would wait for a database.
  await withValues(values, (file) => helm('install', 'cairn', chart, '--values', file, '--no-hooks', ...helmLimit));
});

afterAll(async () => {
  for (const name of [namespace, attempts]) await core.deleteNamespace({ name });
});

test('the cluster takes every object, and lets the pods of every program in', async () => {
  const programs = async () => {
    const { items } = await core.listNamespacedPod({ namespace });
    return items.map((pod) => pod.metadata?.labels?.['app.kubernetes.io/component'] ?? '').sort();
  };
  await expect.poll(programs, { timeout: 30_000 }).toEqual(['api', 'api', 'controller', 'controller', 'task-worker']);
});

test('the cluster takes every object that values can turn on, field by field', async () => {
  const objects = KubernetesObjectApi.makeApiClient(kubeConfig);
  const pools = [namespace, attempts].map((name) => ({ name, slots: 1, settings: { image: workerImage, namespace: name } }));
  for (const useHelmHooks of [true, false]) {
    const { manifests } = await render(changed(everything, { pools, migrations: { useHelmHooks } }), namespace);
    // The types of monitors come with the Prometheus operator.
    const known = manifests.filter(({ kind }) => kind !== 'ServiceMonitor' && kind !== 'PodMonitor');
    expect(known.length).toBeGreaterThan(20);
    // Applied by the server: unlike a create, it refuses a field that it does not know.
    for (const object of known) await objects.patch(object, undefined, 'All', 'cairn-test', true, PatchStrategy.ServerSideApply);
  }
});

const resources = [
  'jobs',
  'pods',
  'pods/log',
  'pods/exec',
  'events',
  'secrets',
  'configmaps',
  'nodes',
  'serviceaccounts/token',
  'deployments',
];
const verbs = ['get', 'list', 'watch', 'create', 'update', 'patch', 'delete', 'deletecollection'];

test('the controller may do in the namespace of a pool what its Role says, and nothing else', async () => {
  expect(await allowed('cairn-controller', namespace, attempts)).toEqual([
    'get jobs',
    'list jobs',
    'watch jobs',
    'create jobs',
    'delete jobs',
    'list pods',
    'watch pods',
    'delete pods',
    'get pods/log',
    'list events',
    'create secrets',
    'patch secrets',
    'delete secrets',
    'list nodes',
    'watch nodes',
  ]);
});

test('outside of the control plane it may only read pods and nodes, and the other accounts have no permissions', async () => {
  expect(await allowed('cairn-controller', namespace, namespace)).toEqual(['list pods', 'watch pods', 'list nodes', 'watch nodes']);
  expect(await allowed('cairn', namespace, namespace)).toEqual([]);
  expect(await allowed(`${namespace}-cairn-attempt`, attempts, attempts)).toEqual([]);
});

test('an upgrade keeps the keys that the first install made', async () => {
  const before = await secretData();
  expect(before['server-key']?.length).toBe(48);
  const next = changed(values, { api: { replicas: 1 }, database: { url: 'postgres://cairn:other@db/cairn' } });
  await withValues(next, (file) => helm('upgrade', 'cairn', chart, '--values', file, '--no-hooks', ...helmLimit));
  const after = await secretData();
  expect(after).toEqual({ ...before, 'database-url': 'postgres://cairn:other@db/cairn' });
});

test('a release of the same name in another namespace shares the namespace of attempts, and goes without a trace of the first', async () => {
  const twin = `${namespace}-twin`;
  const there = async () => (await core.listNamespacedServiceAccount({ namespace: attempts })).items.map(({ metadata }) => metadata?.name);
  const before = await there();
  await core.createNamespace({ body: { metadata: { name: twin } } });
  const ofTwin = ['--namespace', twin, '--timeout', '30s', '--no-hooks'];
  try {
    await withValues(values, (file) => helm('install', 'cairn', chart, '--values', file, ...ofTwin));
    expect((await there()).toSorted()).toEqual([...before, `${twin}-cairn-attempt`].toSorted());
    await helm('uninstall', 'cairn', ...ofTwin);
    expect(await there()).toEqual(before);
  } finally {
    await core.deleteNamespace({ name: twin });
  }
});

test('uninstall leaves nothing, in any namespace', async () => {
  // The hook runs the image; service.cluster.test.ts has one.
  await helm('uninstall', 'cairn', '--no-hooks', ...helmLimit);
  const left = async () => {
    const labelSelector = 'app.kubernetes.io/instance=cairn';
    const lists = await Promise.all([
      core.listNamespacedSecret({ namespace, labelSelector }),
      ...[namespace, attempts].flatMap((name) => [
        core.listNamespacedServiceAccount({ namespace: name, labelSelector }),
        rbac.listNamespacedRole({ namespace: name, labelSelector }),
        rbac.listNamespacedRoleBinding({ namespace: name, labelSelector }),
        core.listNamespacedService({ namespace: name, labelSelector }),
        core.listNamespacedPod({ namespace: name, labelSelector }),
      ]),
    ]);
    const { items } = await rbac.listClusterRole({ labelSelector });
    const mine = items.filter((role) => role.metadata?.name?.startsWith(namespace));
    return [...lists.flatMap((list): { metadata?: { name?: string } }[] => list.items), ...mine].map((object) => object.metadata?.name);
  };
  await expect.poll(left, { timeout: 50_000, interval: 500 }).toEqual([]);
}, 60_000);

/** What an account may do in a namespace, as the cluster itself judges. */
async function allowed(account: string, ofNamespace: string, inNamespace: string): Promise<string[]> {
  const user = `system:serviceaccount:${ofNamespace}:${account}`;
  const pairs = resources.flatMap((resource) => verbs.map((verb) => ({ resource, verb })));
  const answers = await Promise.all(
    pairs.map(async ({ resource: path, verb }) => {
      const [resource = '', subresource] = path.split('/');
      const group = resource === 'jobs' ? 'batch' : resource === 'deployments' ? 'apps' : '';
      const resourceAttributes = { namespace: inNamespace, verb, group, resource, ...(subresource !== undefined && { subresource }) };
      const { status } = await authorization.createSubjectAccessReview({ body: { spec: { user, resourceAttributes } } });
      return status?.allowed ? [`${verb} ${path}`] : [];
    }),
  );
  return answers.flat();
}

async function secretData(): Promise<Record<string, string>> {
  const { data = {} } = await core.readNamespacedSecret({ name: 'cairn', namespace });
  return Object.fromEntries(Object.entries(data).map(([key, value]) => [key, Buffer.from(value, 'base64').toString()]));
}
