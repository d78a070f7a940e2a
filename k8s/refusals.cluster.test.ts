// CI runs this when k8s, libs/executor/kubernetes change, else one time in three; it takes about 10 s.
import { kubernetesPoolSettings } from '@cairn/executor';
import { describe, expect, test } from 'vitest';
import { changed, minimal, refusal, type Values, workerImage } from './testing/chart.ts';

const pool = (settings: Values = {}, change: Values = {}): Values => ({
  pools: [{ name: 'gpu', slots: 8, settings: { image: workerImage, ...settings }, ...change }],
});

const refused: [what: string, change: Values, message: string | RegExp][] = [
  ['no image', { image: { repository: '' } }, 'image.repository is empty; name the control-plane image'],
  [
    'an image with its tag',
    { image: { repository: 'x/y:1' } },
    'image.repository is "x/y:1", which has a tag or digest; move it to image.tag',
  ],
  ['a digest that is none', { image: { digest: 'sha256:12' } }, 'image.digest is "sha256:12"; give sha256: and 64'],
  ['an instance that is not a label', { instanceOverride: 'my team/cairn' }, 'instanceOverride is "my team/cairn"; use letters'],
  ['a log level that is none', { logLevel: 'loud' }, /'\/logLevel': value must be one of 'fatal'/],
  ['no database', { database: { url: '' } }, 'database names no PostgreSQL; give database.url'],
  ['two databases', { database: { existingSecret: { name: 'x' } } }, 'database has url and existingSecret.name; give one of them'],
  ['another database', { database: { url: 'mysql://db/cairn' } }, 'database.url is not a PostgreSQL URL; give one such as'],
  ['too few connections', { database: { connections: 1 } }, /'\/database\/connections': minimum: got 1, want 2/],
  ['another queue', { queue: { url: 'amqp://queue' } }, 'queue.url is not a Redis URL; give one such as'],
  ['two queues', { queue: { url: 'redis://r', existingSecret: { name: 'x' } } }, 'queue has url and existingSecret.name; give one of them'],
  ['no storage', { storage: { url: '' } }, 'storage.url is empty; give the bucket'],
  ['a folder as storage', { storage: { url: 'file:///data' } }, 'storage.url is a folder, which pods on other nodes do not see'],
  ['another storage', { storage: { url: 'gs://bucket' } }, 'storage.url does not begin with s3:// and a bucket'],
  ['credentials in the URL', { storage: { url: 's3://key:word@bucket' } }, 'storage.url has credentials in it, and URLs end up in logs'],
  ['half of the credentials', { storage: { accessKeyId: 'AK' } }, 'storage has one of accessKeyId and secretAccessKey; give both'],
  [
    'credentials twice',
    { storage: { accessKeyId: 'AK', secretAccessKey: 'SK', existingSecret: 'x' } },
    'storage has existingSecret and accessKeyId; give one',
  ],
  ['a short server key', { serverKey: { value: 'short' } }, 'serverKey.value has 5 characters; give at least 32'],
  [
    'two server keys',
    { serverKey: { value: 'k'.repeat(32), existingSecret: { name: 'x' } } },
    'serverKey has value and existingSecret.name',
  ],
  ['a short key for secrets', { secretsKeys: { value: 'k1:short' } }, 'secretsKeys.value is not ID:KEY'],
  [
    'a server key of a Secret without keys for secrets of one',
    { serverKey: { value: '', existingSecret: { name: 'x' } } },
    'secretsKeys.existingSecret.name is empty while serverKey has an existing Secret',
  ],
  ['a short admin token', { adminToken: { value: 'short' } }, 'adminToken.value is too short or has other than visible ASCII'],
  [
    'two admin tokens',
    { adminToken: { value: 't'.repeat(24), existingSecret: { name: 'x' } } },
    'adminToken has value and existingSecret.name',
  ],
  ['no pool', { pools: [] }, 'pools is empty, so that nothing could train; give at least one'],
  ['a pool without slots', { pools: [{ name: 'gpu', settings: { image: workerImage } }] }, /'\/pools\/0': missing property 'slots'/],
  ['a pool of another executor', pool({}, { executor: 'process' }), /'\/pools\/0\/executor': value must be 'kubernetes'/],
  ['a pool with a wrong name', pool({}, { name: 'gpu pool' }), 'pools[0].name is "gpu pool"; use letters'],
  ['a pool named tasks', pool({}, { name: 'tasks' }), 'pools[0].name is "tasks", the pool next to the control plane'],
  [
    'two pools of one name',
    { pools: [0, 1].map(() => ({ name: 'gpu', slots: 1, settings: { image: workerImage } })) },
    `pools[1].name is "gpu", as another pool's is`,
  ],
  ['no replica', { api: { replicas: 0 } }, /'\/api\/replicas': minimum: got 0, want 1/],
  ['replicas in words', { controller: { replicas: 'two' } }, /'\/controller\/replicas': got string, want integer/],
  ['a short lead', { controller: { leaderTtlMs: 100 } }, /'\/controller\/leaderTtlMs': minimum: got 100, want 500/],
  ['a name that there is not', { apii: { replicas: 2 } }, /additional properties 'apii' not allowed/],
  [
    'a storage out of reach',
    { networkPolicy: { objectStorage: { cidrs: [] } } },
    'networkPolicy.objectStorage.cidrs is empty, so that attempts could not reach the object storage',
  ],
  [
    'a host name as address range',
    { networkPolicy: { objectStorage: { cidrs: ['s3.example'] } } },
    'networkPolicy.objectStorage.cidrs[0] is "s3.example"; give an address range',
  ],
  [
    "Secrets of the control plane in the controller's sight",
    { rbac: { sweepSecrets: true } },
    "pools[0].settings.namespace is the release's own while rbac.sweepSecrets lets the controller read every Secret there",
  ],
  ['a port that is none', { networkPolicy: { objectStorage: { ports: [70_000] } } }, /ports\/0': maximum: got 70,?000, want 65,?535/],
  ['an ingress without host', { ingress: { enabled: true } }, 'ingress.host is empty while ingress.enabled is true'],
  ['an ingress to the metrics', { ingress: { paths: ['/v1', '/metrics'] } }, 'ingress.paths[1] is "/metrics", which must not be exposed'],
  [
    "an ingress to the attempts' server",
    { ingress: { paths: ['/internal/v1'] } },
    'ingress.paths[0] is "/internal/v1", which must not be exposed',
  ],
  [
    "one of the chart's own variables",
    { taskWorker: { extraEnv: [{ name: 'CAIRN_QUEUE_URL', value: 'redis://r' }] } },
    'taskWorker.extraEnv[0] sets CAIRN_QUEUE_URL, which the chart sets itself; use the value queue',
  ],
];

test.each(refused)('%s is refused with what to do', async (_, change, message) => {
  expect(await refusal(changed(minimal, change))).toMatch(message);
});

test('all errors are reported at once', async () => {
  const message = await refusal({});
  expect(message).toContain('The values have 5 faults:');
  for (const value of ['image.repository', 'database', 'storage.url', 'pools', 'networkPolicy.objectStorage.cidrs'])
    expect(message).toContain(`\n  ${value} `);
});

test('what may hold a password is not repeated', async () => {
  expect(await refusal(changed(minimal, { queue: { url: 'http://user:hunter2@redis' } }))).not.toContain('hunter2');
});

describe("a pool's setting that the executor refuses is refused by the schema of the values", () => {
  const objectName = "does not match pattern '^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$'";
  const mount = { name: 'images', hostPath: '/data', mountPath: '/data' };
  test.each<[what: string, settings: Values, path: string, message: string]>([
    ['a wrong namespace', { namespace: 'Training' }, '/namespace', objectName],
    ['a wrong Secret', { storageSecretName: 'a_b' }, '/storageSecretName', objectName],
    ['a wrong pull Secret', { imagePullSecrets: ['a', '-b'] }, '/imagePullSecrets/1', objectName],
    ['a wrong queue', { kueue: { queueName: 'Q' } }, '/kueue/queueName', objectName],
    ['a claim with a wrong name', { claimMounts: [{ claimName: 'A', mountPath: '/data' }] }, '/claimMounts/0/claimName', objectName],
    ['memory in words', { memory: '64 GB' }, '/memory', "'64 GB' does not match pattern"],
    ['a number for a quantity', { cpu: 8 }, '/cpu', 'got number, want string'],
    ['too many GPUs', { gpusPerPod: 65 }, '/gpusPerPod', 'maximum: got 65, want 64'],
    ['a setting that does not exist', { gpus: 8 }, '', "additional properties 'gpus' not allowed"],
    ['a mount with a wrong name', { nodeMounts: [{ ...mount, name: 'A' }] }, '/nodeMounts/0/name', "'A' does not match pattern"],
    ['a mount of no path', { nodeMounts: [{ ...mount, hostPath: 'data' }] }, '/nodeMounts/0/hostPath', "'data' does not match pattern"],
    ['no grace', { graceSeconds: 0 }, '/graceSeconds', 'minimum: got 0, want 1'],
  ])('%s', async (_, settings, path, message) => {
    expect(kubernetesPoolSettings.safeParse({ namespace: 'ml', image: workerImage, ...settings }).success).toBe(false);
    const faults = await refusal(changed(minimal, pool(settings)));
    expect(faults).toContain(`'/pools/0/settings${path}'`);
    expect(faults).toContain(message);
  });
});
