import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { kubernetesPoolSettings } from '@cairn/executor';
import { expect, test } from 'vitest';
import { parse } from 'yaml';
import { z } from 'zod';
import { changed, chart, everything, helm, type Manifest, minimal, render, withValues, workerImage } from './testing/chart.ts';

test('helm lint finds nothing', async () => {
  await withValues(everything, (file) => helm('lint', chart, '--strict', '--values', file));
});

test('the least values make two apis, two controllers, a task worker and a migration before them', async () => {
  const { manifests } = await render();
  expect(Object.fromEntries(of(manifests, 'Deployment').map((one) => [one.metadata.name, at(one, 'spec', 'replicas')]))).toEqual({
    'cairn-api': 2,
    'cairn-controller': 2,
    'cairn-task-worker': 1,
  });
  expect(of(manifests, 'Job').map((job) => job.metadata.annotations?.['helm.sh/hook'])).toEqual(['pre-install,pre-upgrade', 'post-delete']);
  expect(of(manifests, 'Service').map((one) => [one.metadata.name, at(one, 'spec', 'ports')])).toEqual([
    ['cairn', [{ name: 'http', port: 80, targetPort: 'http', appProtocol: 'http' }]],
    ['cairn-internal', [{ name: 'internal', port: 8081, targetPort: 'internal', appProtocol: 'http' }]],
  ]);
  expect(manifests.filter(({ kind }) => ['Ingress', 'ServiceMonitor'].includes(kind))).toEqual([]);
});

test('every example installs beside the least', async () => {
  const folder = join(import.meta.dirname, 'examples');
  const files = (await readdir(folder)).filter((name) => name.endsWith('-values.yaml'));
  for (const name of files) {
    const text = await helm(
      'template',
      'cairn',
      chart,
      '--kube-version',
      '1.34.0',
      '-f',
      join(folder, 'minimal-values.yaml'),
      '-f',
      join(folder, name),
    );
    expect(text, name).toContain('kind: Deployment');
  }
});

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
  const swept = (await render(everything)).manifests;
  expect(controllerRoles(swept).map((role) => role.metadata.namespace)).toEqual(['far-away', 'further-away', 'ml']);
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

test('CAIRN_POOLS holds pools as the executor reads them, dollars and quotes among them', async () => {
  const { manifests } = await render(everything);
  const [gpu, , further] = poolsOf(manifests);
  expect(gpu).toMatchObject({ name: 'gpu', executor: 'kubernetes', slots: 32 });
  expect(gpu?.settings.env).toEqual({ PRICE: '$5 "each" $(HOME)' });
  expect(gpu?.settings.imagePullSecrets).toEqual(['registry']);
  expect(further?.settings.imagePullSecrets).toEqual([]);
  expect(further?.settings.keepFinishedSeconds).toBe(31_536_000);
});

test('no secret stands outside a Secret', async () => {
  const { manifests } = await render(everything);
  const others = JSON.stringify(manifests.filter(({ kind }) => kind !== 'Secret'));
  for (const secret of secretsOf(manifests)) {
    expect(others).not.toContain(secret);
    expect(others).not.toContain(Buffer.from(secret).toString('base64'));
  }
  expect(secretsOf(manifests)).toEqual(
    expect.arrayContaining([
      'postgres://cairn:password-of-the-database@db:5432/cairn',
      'rediss://:password-of-redis@redis:6379',
      'key-id-of-storage',
      'secret-of-storage',
      'server-key-with-at-least-32-characters',
      'admin-token-with-24-characters',
    ]),
  );
});

test('with existing Secrets the chart makes none, and pods refer to theirs', async () => {
  const existing = (name: string) => ({ existingSecret: { name, key: 'value' } });
  const { manifests } = await render(
    changed(minimal, {
      database: { url: '', ...existing('db') },
      queue: existing('redis'),
      storage: { existingSecret: 'objects' },
      serverKey: existing('server'),
      adminToken: existing('admin'),
    }),
  );
  expect(of(manifests, 'Secret')).toEqual([]);
  const api = environmentOf(manifests, 'cairn-api');
  expect(api.CAIRN_DATABASE_URL).toEqual({ secretKeyRef: { name: 'db', key: 'value' } });
  expect(api.CAIRN_SERVER_KEY).toEqual({ secretKeyRef: { name: 'server', key: 'value' } });
  expect(api.CAIRN_ADMIN_TOKEN).toEqual({ secretKeyRef: { name: 'admin', key: 'value' } });
  expect(environmentOf(manifests, 'cairn-task-worker').CAIRN_QUEUE_URL).toEqual({ secretKeyRef: { name: 'redis', key: 'value' } });
  expect(environmentOf(manifests, 'cairn-migrate').CAIRN_DATABASE_URL).toEqual({ secretKeyRef: { name: 'db', key: 'value' } });
});

test('keys that nobody gives are made at random, long enough, and are the same in every program', async () => {
  const [first, second] = [await render(), await render()].map(({ manifests }) => dataOf(manifests, 'cairn'));
  expect(first?.['server-key']).toMatch(/^[A-Za-z0-9]{48}$/);
  expect(first?.['admin-token']).toMatch(/^cairn_[A-Za-z0-9]{48}$/);
  expect(second?.['server-key']).not.toBe(first?.['server-key']);
});

test('a changed secret starts the pods again, and nothing else does', async () => {
  const key = { serverKey: { value: 'k'.repeat(32) }, adminToken: { value: 't'.repeat(32) } };
  const [before, same, after] = await Promise.all(
    [{}, {}, { database: { url: 'postgres://cairn:another@db:5432/cairn' } }].map(async (change) =>
      podSpecs((await render(changed(changed(minimal, key), change))).manifests).map(({ annotations }) => annotations['cairn.dev/secrets']),
    ),
  );
  expect(same).toEqual(before);
  expect(after?.[0]).not.toBe(before?.[0]);
});

test('every pod fits the restricted standard, and requests what it uses', async () => {
  for (const values of [minimal, everything]) {
    const pods = podSpecs((await render(values)).manifests);
    expect(pods).toHaveLength(5);
    for (const { name, spec } of pods) {
      expect(spec.securityContext, name).toMatchObject({ runAsNonRoot: true, seccompProfile: { type: 'RuntimeDefault' } });
      for (const container of spec.containers) {
        expect(container.securityContext, name).toEqual({
          allowPrivilegeEscalation: false,
          readOnlyRootFilesystem: true,
          capabilities: { drop: ['ALL'] },
        });
        expect(container.resources, name).toMatchObject({ requests: { cpu: expect.anything(), memory: expect.anything() } });
        expect(new Set(container.env.map((variable) => variable.name)).size, name).toBe(container.env.length);
      }
    }
  }
});

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

test('outside hooks the migration is a Job whose name follows its image', async () => {
  const plain = { migrations: { useHelmHooks: false } };
  const names = await Promise.all(
    ['1', '1', '2'].map(async (tag) => {
      const { manifests } = await render(changed(minimal, { ...plain, image: { tag } }));
      expect(of(manifests, 'Secret').map(({ metadata }) => metadata.name)).toEqual(['cairn']);
      const [job] = of(manifests, 'Job');
      expect(job?.metadata.annotations ?? {}).toEqual({});
      return job?.metadata.name;
    }),
  );
  expect(names[1]).toBe(names[0]);
  expect(names[2]).not.toBe(names[0]);
});

test("a hook brings its own Secret, as it comes before the chart's", async () => {
  const { manifests } = await render();
  const secret = of(manifests, 'Secret').find(({ metadata }) => metadata.name === 'cairn-migrate');
  expect(secret?.metadata.annotations).toMatchObject({
    'helm.sh/hook': 'pre-install,pre-upgrade,post-delete',
    'helm.sh/hook-weight': '-5',
  });
  expect(environmentOf(manifests, 'cairn-migrate').CAIRN_DATABASE_URL).toEqual({
    secretKeyRef: { name: 'cairn-migrate', key: 'database-url' },
  });
});

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
  const [, internal] = z.array(z.unknown()).parse(at(api, 'spec', 'ingress'));
  expect(at(internal, 'from')).toContainEqual({
    namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': 'shared' } },
    podSelector: { matchLabels: attemptsOf('ml-2.cairn') },
  });
});

test('Chart.yaml has the version of the programs', async () => {
  const { version } = z
    .object({ version: z.string() })
    .parse(JSON.parse(await readFile(join(import.meta.dirname, '../package.json'), 'utf8')));
  expect(parse(await readFile(join(chart, 'Chart.yaml'), 'utf8'))).toMatchObject({ appVersion: version });
});

const shared = changed(minimal, { pools: [{ name: 'gpu', slots: 1, settings: { image: workerImage, namespace: 'shared' } }] });

/** Labels by which a policy means the attempts of an installation. */
const attemptsOf = (instance: string) => ({
  'app.kubernetes.io/name': 'cairn',
  'app.kubernetes.io/instance': instance,
  'app.kubernetes.io/component': 'attempt',
});

/** The installation as the controller takes it. */
function instanceOf(manifests: Manifest[]): string {
  const controller = of(manifests, 'Deployment').find(({ metadata }) => metadata.name.endsWith('-controller'));
  return z.string().parse(environmentOf(manifests, controller?.metadata.name ?? '').CAIRN_INSTANCE);
}

const of = (manifests: Manifest[], kind: string) => manifests.filter((one) => one.kind === kind);

function at(value: unknown, ...path: string[]): unknown {
  return path.reduce((inner, name) => z.record(z.string(), z.unknown()).parse(inner)[name], value);
}

const template = z.looseObject({
  metadata: z.looseObject({ annotations: z.record(z.string(), z.string()).default({}) }),
  spec: z.looseObject({
    serviceAccountName: z.string().optional(),
    automountServiceAccountToken: z.boolean(),
    securityContext: z.unknown(),
    containers: z.array(
      z.looseObject({
        securityContext: z.unknown(),
        resources: z.unknown(),
        env: z.array(z.object({ name: z.string(), value: z.string().optional(), valueFrom: z.unknown().optional() })),
      }),
    ),
  }),
});

const controllerRoles = (manifests: Manifest[]) => of(manifests, 'Role').filter(({ metadata }) => metadata.name.endsWith('-controller'));

function podSpecs(manifests: Manifest[]) {
  return manifests
    .filter(({ kind }) => kind === 'Deployment' || kind === 'Job')
    .map((one) => {
      const { metadata, spec } = template.parse(at(one, 'spec', 'template'));
      return { name: one.metadata.name, annotations: metadata.annotations, spec };
    });
}

/** Variables of the first container, each with its value or where it comes from. */
function environmentOf(manifests: Manifest[], name: string): Record<string, unknown> {
  const pod = podSpecs(manifests).find((one) => one.name === name);
  return Object.fromEntries((pod?.spec.containers[0]?.env ?? []).map((one) => [one.name, one.value ?? one.valueFrom]));
}

/** The pools as the controller will read them: parsed, and a dollar that Kubernetes would expand doubled. */
function poolsOf(manifests: Manifest[]) {
  const value = z.string().parse(environmentOf(manifests, 'cairn-controller').CAIRN_POOLS);
  expect(value.replaceAll('$$', '')).not.toContain('$');
  const pools = z.array(
    z.strictObject({ name: z.string(), executor: z.literal('kubernetes'), slots: z.number().int(), settings: kubernetesPoolSettings }),
  );
  return pools.parse(JSON.parse(value.replaceAll('$$', '$')));
}

function dataOf(manifests: Manifest[], name: string): Record<string, string> {
  const secret = of(manifests, 'Secret').find(({ metadata }) => metadata.name === name);
  const data = z.record(z.string(), z.string()).parse(secret?.data);
  return Object.fromEntries(Object.entries(data).map(([key, value]) => [key, Buffer.from(value, 'base64').toString()]));
}

const secretsOf = (manifests: Manifest[]): string[] =>
  of(manifests, 'Secret').flatMap(({ metadata }) => Object.values(dataOf(manifests, metadata.name)));
