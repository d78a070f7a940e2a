import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { kubernetesPoolSettings } from '@cairn/executor';
import { helm, type Manifest, parseManifests } from '@cairn/testing';
import { expect } from 'vitest';
import { parse } from 'yaml';
import { z } from 'zod';

export const chart = join(import.meta.dirname, '../cairn');

export type Values = { [name: string]: Value };
type Value = string | number | boolean | null | Value[] | Values;

export const digest = `sha256:${'a'.repeat(64)}`;
export const workerImage = `example/cairn-worker@${digest}`;

/** The least that the chart takes, with secrets that a test can look for. */
export const minimal: Values = {
  image: { repository: 'example/cairn-control-plane' },
  database: { url: 'postgres://cairn:password-of-the-database@db:5432/cairn' },
  storage: { url: 's3://cairn/production' },
  networkPolicy: { objectStorage: { cidrs: ['10.20.0.0/16'] } },
  pools: [{ name: 'gpu', slots: 32, settings: { image: workerImage } }],
};

type Rendered = { manifests: Manifest[]; text: string };

/**
 * `helm template` with the values.
 * @throws Error with what Helm says, when it refuses them
 */
export async function render(values: Values = minimal, namespace = 'ml', release = 'cairn'): Promise<Rendered> {
  const text = await withValues(values, (file) =>
    helm('template', release, chart, '--namespace', namespace, '--kube-version', '1.34.0', '--values', file),
  );
  return { text, manifests: parseManifests(text) };
}

/** What Helm says against the values. */
export async function refusal(values: Values): Promise<string> {
  try {
    await render(values);
  } catch (error) {
    return String(error);
  }
  throw new Error('these values should have been refused');
}

export async function withValues<T>(values: Values, work: (file: string) => Promise<T>): Promise<T> {
  const folder = await mkdtemp(join(tmpdir(), 'cairn-chart-'));
  try {
    const file = join(folder, 'values.yaml');
    await writeFile(file, JSON.stringify(values));
    return await work(file);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

export const readYaml = async (path: string): Promise<unknown> => parse(await readFile(path, 'utf8'));

/** The values with others in place of them, key by key; lists are replaced whole, as Helm does. */
export function changed(values: Values, change: Values): Values {
  const result: Values = { ...values };
  for (const [name, value] of Object.entries(change)) {
    const before = result[name];
    result[name] = isMap(before) && isMap(value) ? changed(before, value) : value;
  }
  return result;
}

const isMap = (value: Value | undefined): value is Values => typeof value === 'object' && value !== null && !Array.isArray(value);

/** Values that turn on all that the chart has. */
export const everything: Values = changed(minimal, {
  commonLabels: { team: 'vision' },
  commonAnnotations: { 'example.com/owner': 'vision' },
  queue: { url: 'rediss://:password-of-redis@redis:6379' },
  storage: { accessKeyId: 'key-id-of-storage', secretAccessKey: 'secret-of-storage' },
  serverKey: { value: 'server-key-with-at-least-32-characters' },
  secretsKeys: { value: 'k1:key-for-secrets-of-at-least-32-characters' },
  adminToken: { value: 'admin-token-with-24-characters' },
  image: { pullSecrets: ['registry'] },
  publicUrl: 'https://cairn.example',
  deliveryHosts: ['hooks.example', '*.corp.example'],
  quotas: { projectRuns: 2_000_000, ownerRuns: 0 },
  api: { podAnnotations: { a: 'b' }, extraEnv: [{ name: 'NODE_OPTIONS', value: '--max-old-space-size=768' }], priorityClassName: 'high' },
  controller: { nodeSelector: { pool: 'cpu' } },
  taskWorker: {
    image: { repository: 'example/other', tag: '2' },
    replicas: 3,
    extraVolumes: [{ name: 'images', persistentVolumeClaim: { claimName: 'images' } }],
    extraVolumeMounts: [{ name: 'images', mountPath: '/images', readOnly: true }],
  },
  pools: [
    { name: 'gpu', slots: 32, settings: { image: workerImage, env: { PRICE: '$5 "each" $(HOME)' } } },
    { name: 'far', executor: 'kubernetes', slots: 8, settings: { image: workerImage, namespace: 'far-away', serviceAccountName: 'own' } },
    { name: 'further', slots: 8, settings: { image: workerImage, namespace: 'further-away', keepFinishedSeconds: 31_536_000 } },
  ],
  networkPolicy: {
    dns: { podLabels: { 'k8s-app': 'kube-dns' }, cidrs: ['169.254.20.10/32'] },
    extraAttemptEgress: [{ to: [{ ipBlock: { cidr: '169.254.169.254/32' } }], ports: [{ port: 80 }] }],
    clients: [{ podSelector: { matchLabels: { app: 'proxy' } } }],
    metricsClients: [{ namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': 'monitoring' } } }],
    controlPlaneEgress: [{ to: [{ ipBlock: { cidr: '10.30.0.0/24' } }], ports: [{ port: 5432 }] }],
  },
  ingress: { enabled: true, host: 'cairn.example', tlsSecretName: 'tls', className: 'nginx' },
  serviceMonitor: { enabled: true, labels: { release: 'prometheus' } },
});

/** Labels by which a policy means the attempts of an installation. */
export const attemptsOf = (instance: string) => ({
  'app.kubernetes.io/name': 'cairn',
  'app.kubernetes.io/instance': instance,
  'app.kubernetes.io/component': 'attempt',
});

/** The installation as the controller takes it. */
export function instanceOf(manifests: Manifest[]): string {
  const controller = of(manifests, 'Deployment').find(({ metadata }) => metadata.name.endsWith('-controller'));
  return z.string().parse(environmentOf(manifests, controller?.metadata.name ?? '').CAIRN_INSTANCE);
}

export const of = (manifests: Manifest[], kind: string) => manifests.filter((one) => one.kind === kind);

export function at(value: unknown, ...path: string[]): unknown {
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

export const controllerRoles = (manifests: Manifest[]) =>
  of(manifests, 'Role').filter(({ metadata }) => metadata.name.endsWith('-controller'));

export function podSpecs(manifests: Manifest[]) {
  return manifests
    .filter(({ kind }) => kind === 'Deployment' || kind === 'Job')
    .map((one) => {
      const { metadata, spec } = template.parse(at(one, 'spec', 'template'));
      return { name: one.metadata.name, annotations: metadata.annotations, spec };
    });
}

/** Variables of the first container, each with its value or where it comes from. */
export function environmentOf(manifests: Manifest[], name: string): Record<string, unknown> {
  const pod = podSpecs(manifests).find((one) => one.name === name);
  return Object.fromEntries((pod?.spec.containers[0]?.env ?? []).map((one) => [one.name, one.value ?? one.valueFrom]));
}

/** The pools as the controller will read them: parsed, and a dollar that Kubernetes would expand doubled. */
export function poolsOf(manifests: Manifest[]) {
  const value = z.string().parse(environmentOf(manifests, 'cairn-controller').CAIRN_POOLS);
  expect(value.replaceAll('$$', '')).not.toContain('$');
  const pools = z.array(
    z.strictObject({ name: z.string(), executor: z.literal('kubernetes'), slots: z.number().int(), settings: kubernetesPoolSettings }),
  );
  return pools.parse(JSON.parse(value.replaceAll('$$', '$')));
}

export function dataOf(manifests: Manifest[], name: string): Record<string, string> {
  const secret = of(manifests, 'Secret').find(({ metadata }) => metadata.name === name);
  const data = z.record(z.string(), z.string()).parse(secret?.data);
  return Object.fromEntries(Object.entries(data).map(([key, value]) => [key, Buffer.from(value, 'base64').toString()]));
}

export const secretsOf = (manifests: Manifest[]): string[] =>
  of(manifests, 'Secret').flatMap(({ metadata }) => Object.values(dataOf(manifests, metadata.name)));
