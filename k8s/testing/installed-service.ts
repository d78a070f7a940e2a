import { randomBytes } from 'node:crypto';
import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { createClient } from '@cairn/client';
import { makeMiniDataset, tinyCounts } from '@cairn/mini-dataset';
import {
  backUpPostgres,
  copyObjects,
  helmWithin,
  ownAddress,
  removeRunFolder,
  startPostgres,
  startS3,
  startValkey,
  type TestPostgres,
} from '@cairn/testing';
import { BatchV1Api, CoreV1Api, KubeConfig, KubernetesObjectApi, type V1Job, type V1Pod } from '@kubernetes/client-node';
import { changed, chart, type Values, withValues } from './chart.ts';

const kubeConfig = new KubeConfig();
kubeConfig.loadFromDefault();
export const core = kubeConfig.makeApiClient(CoreV1Api);
const batch = kubeConfig.makeApiClient(BatchV1Api);

export const gpuResource = 'nvidia.com/gpu';
export const nameAnnotation = 'cairn.dev/name';
/** Where pods reach this machine. */
const host = process.env.CAIRN_TEST_HOST ?? ownAddress();
/** `tiny` has the whole graph and is too small to learn; `mini` learns. */
export const recipe = process.env.CAIRN_TEST_RECIPE ?? 'tiny';
const release = 'cairn';
const helmLimitSeconds = 300;
const storageSecret = 'attempt-storage';
/** Prefix of the service's objects in the bucket. */
const objects = 'installed';

export type InstalledService = {
  /** Of the release. */
  namespace: string;
  /** Of the attempts. */
  attempts: string;
  client: ReturnType<typeof createClient>;
  postgres: TestPostgres;
  /** What no pod of an attempt may know. */
  secrets: string[];
  /** The addresses that it may know. */
  reachable: string[];
  upgrade(image: string): Promise<void>;
  uninstall(): Promise<void>;
  /** The database, and after it the bucket, while they are in use. */
  backUp(): Promise<Backup>;
  /** Installs it again with the backup and an empty queue; `client` is then one of the new install. */
  restore(backup: Backup): Promise<void>;
  pods(namespace: string): Promise<V1Pod[]>;
  jobs(namespace: string): Promise<V1Job[]>;
  /** All there was in both namespaces, and of the release in the cluster, before it was installed. */
  before: string[];
  /** The same now. */
  objects(): Promise<string[]>;
  close(): Promise<void>;
};

/** A folder that a PostgreSQL can start on, and the objects' prefix in the bucket. */
export type Backup = { postgres: string; objects: string };

/**
 * The chart, installed from built images into namespaces that enforce Pod Security `restricted`, with PostgreSQL, Valkey and S3 on
 * this machine. The images lie in a folder of this machine, which pods see as a persistent volume.
 */
export async function installService(controlPlaneImage: string, workerImage: string): Promise<InstalledService> {
  const namespace = `cairn-installed-${randomBytes(4).toString('hex')}`;
  const attempts = `${namespace}-attempts`;
  const dataset = await mkdtemp('/var/tmp/cairn-test-dataset-');
  const [postgres, valkey, s3] = await Promise.all([startPostgres({ host }), startValkey({ host }), startS3({ host })]);
  await makeMiniDataset({ out: dataset, seed: 0, ...(recipe === 'tiny' && { counts: tinyCounts }) });
  await chmod(dataset, 0o755);
  for (const name of [namespace, attempts]) {
    const labels = { 'pod-security.kubernetes.io/enforce': 'restricted' };
    await core.createNamespace({ body: { metadata: { name, labels } } });
    await claimFolder(name, dataset);
  }
  await core.createNamespacedSecret({ namespace: attempts, body: { metadata: { name: storageSecret }, stringData: s3.env } });

  const before = await objectsOf([namespace, attempts]);
  const small = { resources: { requests: { cpu: '10m', memory: '128Mi' } } };
  const seesDataset = {
    extraVolumes: [{ name: 'images', persistentVolumeClaim: { claimName: 'images', readOnly: true } }],
    extraVolumeMounts: [{ name: 'images', mountPath: dataset, readOnly: true }],
  };
  const values: Values = {
    image: imageValue(controlPlaneImage),
    datasets: { roots: [dataset] },
    database: { url: postgres.url },
    queue: { url: valkey.url },
    storage: {
      url: s3.url(objects),
      accessKeyId: s3.env.AWS_ACCESS_KEY_ID,
      secretAccessKey: s3.env.AWS_SECRET_ACCESS_KEY,
    },
    networkPolicy: { objectStorage: { cidrs: [`${host}/32`], ports: [s3.port] }, clients: [{ ipBlock: { cidr: '0.0.0.0/0' } }] },
    api: { ...small, ...seesDataset, service: { type: 'NodePort' } },
    controller: small,
    taskWorker: { ...small, ...seesDataset },
    pools: [
      {
        name: 'gpu',
        slots: 8,
        settings: {
          namespace: attempts,
          image: workerImage,
          allowTags: true,
          cpu: '100m',
          memory: '2Gi',
          graceSeconds: 30,
          storageSecretName: storageSecret,
          claimMounts: [{ claimName: 'images', mountPath: dataset }],
          // The node only pretends to have them.
          env: { CAIRN_GPUS: '0' },
        },
      },
    ],
  };
  const apply = (change: Values = {}) =>
    withValues(changed(values, change), (file) =>
      helmWithin(
        (helmLimitSeconds + 30) * 1000,
        ...['upgrade', '--install', release, chart, '--namespace', namespace, '--values', file],
        ...['--wait', '--timeout', `${helmLimitSeconds}s`],
      ),
    );
  await apply();

  const keys = async () => {
    const { data = {} } = await core.readNamespacedSecret({ name: release, namespace });
    return (name: string) => Buffer.from(data[name] ?? '', 'base64').toString();
  };
  const key = await keys();
  const connect = async () => createClient({ url: await nodePortUrl(namespace), token: (await keys())('admin-token') });
  const client = await connect();
  const [root, metadata, countries] = ['images', 'metadata', 'countries'].map((name) => join(dataset, name)) as [string, string, string];
  await client.addDataset({ name: 'mini', source: { kind: 'folder', root, metadata, countries } });

  const restored: string[] = [];
  const service: InstalledService = {
    namespace,
    attempts,
    client,
    postgres,
    secrets: [new URL(postgres.url).password, new URL(valkey.url).host, key('server-key'), key('secrets-keys'), key('admin-token')],
    reachable: [`http://cairn-internal.${namespace}.svc:8081`, s3.url(objects)],
    upgrade: async (image) => void (await apply({ image: imageValue(image) })),
    async uninstall() {
      await helmWithin((helmLimitSeconds + 30) * 1000, 'uninstall', release, '--namespace', namespace, '--wait');
    },
    async backUp() {
      const folder = await backUpPostgres(service.postgres);
      await copyObjects(s3, objects, `${objects}-backup`);
      return { postgres: folder, objects: `${objects}-backup` };
    },
    async restore(backup) {
      await service.postgres.stop();
      await valkey.empty();
      service.postgres = await startPostgres({ host, dataDir: backup.postgres });
      restored.push(backup.postgres);
      await apply({ database: { url: service.postgres.url }, storage: { url: s3.url(backup.objects) } });
      service.client = await connect();
    },
    pods: async (where) => (await core.listNamespacedPod({ namespace: where })).items,
    jobs: async (where) => (await batch.listNamespacedJob({ namespace: where })).items,
    before,
    objects: () => objectsOf([namespace, attempts]),
    async close() {
      for (const name of [namespace, attempts]) {
        for (const { metadata: { name: pod = '' } = {} } of (await core.listNamespacedPod({ namespace: name })).items)
          await core.deleteNamespacedPod({ name: pod, namespace: name, gracePeriodSeconds: 0 }).catch(() => undefined);
        await core.deleteNamespace({ name });
        await core.deletePersistentVolume({ name: `${name}-images` });
      }
      await Promise.all([service.postgres.stop(), valkey.stop(), s3.stop()]);
      for (const folder of restored) await removeRunFolder(folder);
      await rm(dataset, { recursive: true, force: true });
    },
  };
  return service;
}

const imageValue = (image: string) => {
  const colon = image.lastIndexOf(':');
  return { repository: image.slice(0, colon), tag: image.slice(colon + 1) };
};

/** A folder of the node as the claim `images`: unlike a hostPath in a pod's own volumes, Pod Security allows it. */
async function claimFolder(namespace: string, path: string): Promise<void> {
  const name = `${namespace}-images`;
  const shared = { accessModes: ['ReadOnlyMany'], storageClassName: '', volumeMode: 'Filesystem' };
  await core.createPersistentVolume({
    body: {
      metadata: { name },
      spec: { ...shared, capacity: { storage: '1Gi' }, hostPath: { path }, claimRef: { namespace, name: 'images' } },
    },
  });
  await core.createNamespacedPersistentVolumeClaim({
    namespace,
    body: { metadata: { name: 'images' }, spec: { ...shared, volumeName: name, resources: { requests: { storage: '1Gi' } } } },
  });
}

/** The Service of /v1, at a node. */
async function nodePortUrl(namespace: string): Promise<string> {
  const service = await core.readNamespacedService({ name: release, namespace });
  const { items } = await core.listNode();
  const address = items[0]?.status?.addresses?.find(({ type }) => type === 'InternalIP')?.address;
  return `http://${address}:${service.spec?.ports?.[0]?.nodePort}`;
}

/** Kinds that the chart, its programs or the cluster on their behalf make. */
const kinds: [apiVersion: string, ...kinds: string[]][] = [
  ['v1', 'Pod', 'Service', 'Endpoints', 'Secret', 'ConfigMap', 'ServiceAccount', 'PersistentVolumeClaim'],
  ['apps/v1', 'Deployment', 'ReplicaSet'],
  ['batch/v1', 'Job', 'CronJob'],
  ['rbac.authorization.k8s.io/v1', 'Role', 'RoleBinding'],
  ['networking.k8s.io/v1', 'NetworkPolicy', 'Ingress'],
  ['policy/v1', 'PodDisruptionBudget'],
  ['discovery.k8s.io/v1', 'EndpointSlice'],
  ['coordination.k8s.io/v1', 'Lease'],
];
const clusterKinds: typeof kinds = [['rbac.authorization.k8s.io/v1', 'ClusterRole', 'ClusterRoleBinding']];

async function objectsOf(namespaces: string[]): Promise<string[]> {
  const api = KubernetesObjectApi.makeApiClient(kubeConfig);
  const found: string[] = [];
  const add = async (groups: typeof kinds, namespace?: string) => {
    for (const [apiVersion, ...names] of groups)
      for (const kind of names)
        for (const { metadata } of (await api.list(apiVersion, kind, namespace)).items)
          found.push(`${namespace ?? 'cluster'} ${kind} ${metadata?.name}`);
  };
  for (const namespace of namespaces) await add(kinds, namespace);
  await add(clusterKinds);
  const [first = ''] = namespaces;
  // What is the cluster's belongs to the release when it has its namespace in its name.
  return found.filter((one) => !one.startsWith('cluster ') || one.includes(first)).toSorted();
}
