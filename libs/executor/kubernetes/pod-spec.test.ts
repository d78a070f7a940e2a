import { describe, expect, test } from 'vitest';
import type { z } from 'zod';
import { objectName } from '../attempt-containers.ts';
import type { LaunchSpec } from '../executor.ts';
import { attemptMemory, jobManifest, secretManifest } from './pod-spec.ts';
import { type KubernetesPoolSettings, kubernetesPoolSettings } from './pool-settings.ts';
import { aPod } from './testing/objects.ts';

const image = `registry.example/cairn/worker@sha256:${'0'.repeat(64)}`;
const owner = { instance: 'cairn', pool: 'a100' };
const spec: LaunchSpec = {
  attemptId: 'att_01k9zj5v3q8w2x4y6z7a9b1c3d',
  generation: 2,
  name: 'mini-3/512_finetune/1',
  slots: 8,
  env: { CAIRN_INTERNAL_URL: 'http://cairn-internal:8081', CAIRN_ATTEMPT_TOKEN: 'cat_secret', CAIRN_PYTHON: '/usr/bin/python3' },
};
const pool = (change: Partial<z.input<typeof kubernetesPoolSettings>> = {}): KubernetesPoolSettings =>
  kubernetesPoolSettings.parse({ namespace: 'training', image, ...change });
const job = (change: Partial<z.input<typeof kubernetesPoolSettings>> = {}, more: Partial<LaunchSpec> = {}) =>
  jobManifest({ ...spec, ...more }, owner, pool(change));
const pod = (...args: Parameters<typeof job>) => job(...args).spec?.template.spec;

const labels = {
  'app.kubernetes.io/name': 'cairn',
  'app.kubernetes.io/component': 'attempt',
  'app.kubernetes.io/managed-by': 'cairn',
  'app.kubernetes.io/instance': 'cairn',
  'cairn.dev/pool': 'a100',
  'cairn.dev/attempt': 'att_01k9zj5v3q8w2x4y6z7a9b1c3d',
  'cairn.dev/generation': '2',
};
const name = 'mini-3-512-finetune-1-5206a0b56a-g2';

test('the Job of an attempt with the defaults of a pool', () => {
  expect(job()).toEqual({
    apiVersion: 'batch/v1',
    kind: 'Job',
    metadata: { name, namespace: 'training', labels, annotations: { 'cairn.dev/name': 'mini-3/512_finetune/1' } },
    spec: {
      parallelism: 1,
      completions: 1,
      backoffLimit: 0,
      ttlSecondsAfterFinished: 604_800,
      podReplacementPolicy: 'Failed',
      podFailurePolicy: {
        rules: [
          { action: 'FailJob', onPodConditions: [{ type: 'DisruptionTarget', status: 'True' }] },
          { action: 'FailJob', onExitCodes: { containerName: 'agent', operator: 'NotIn', values: [0] } },
        ],
      },
      template: {
        metadata: {
          labels,
          annotations: {
            'cairn.dev/name': 'mini-3/512_finetune/1',
            'karpenter.sh/do-not-disrupt': 'true',
            'cluster-autoscaler.kubernetes.io/safe-to-evict': 'false',
          },
        },
        spec: {
          restartPolicy: 'Never',
          terminationGracePeriodSeconds: 65,
          enableServiceLinks: false,
          automountServiceAccountToken: false,
          nodeSelector: {},
          tolerations: [{ key: 'nvidia.com/gpu', operator: 'Exists', effect: 'NoSchedule' }],
          imagePullSecrets: [],
          securityContext: {
            runAsNonRoot: true,
            runAsUser: 10001,
            runAsGroup: 10001,
            fsGroup: 10001,
            seccompProfile: { type: 'RuntimeDefault' },
          },
          containers: [
            {
              name: 'agent',
              image,
              imagePullPolicy: 'IfNotPresent',
              env: [
                { name: 'HOME', value: '/tmp' },
                { name: 'CAIRN_GPUS', value: '8' },
                { name: 'CAIRN_INTERNAL_URL', value: 'http://cairn-internal:8081' },
                { name: 'CAIRN_PYTHON', value: '/usr/bin/python3' },
                { name: 'CAIRN_ATTEMPT_ID', value: 'att_01k9zj5v3q8w2x4y6z7a9b1c3d' },
                { name: 'CAIRN_ATTEMPT_GENERATION', value: '2' },
                { name: 'CAIRN_WORK_DIR', value: '/var/lib/cairn/work' },
                { name: 'CAIRN_STOP_GRACE_SECONDS', value: '60' },
                { name: 'CAIRN_ATTEMPT_TOKEN', valueFrom: { secretKeyRef: { name, key: 'token' } } },
              ],
              resources: {
                // 64Gi of the processes and 1Gi of shared memory.
                requests: { cpu: '8', memory: '69793218560', 'nvidia.com/gpu': '8' },
                limits: { memory: '69793218560', 'nvidia.com/gpu': '8' },
              },
              securityContext: {
                allowPrivilegeEscalation: false,
                privileged: false,
                readOnlyRootFilesystem: true,
                capabilities: { drop: ['ALL'] },
              },
              terminationMessagePolicy: 'FallbackToLogsOnError',
              volumeMounts: [
                { name: 'work', mountPath: '/var/lib/cairn/work' },
                { name: 'tmp', mountPath: '/tmp' },
                { name: 'shm', mountPath: '/dev/shm' },
              ],
            },
          ],
          volumes: [
            { name: 'work', emptyDir: {} },
            { name: 'tmp', emptyDir: {} },
            { name: 'shm', emptyDir: { medium: 'Memory', sizeLimit: '1073741824' } },
          ],
        },
      },
    },
  });
});

test('its Secret holds the token, which is nowhere in the Job', () => {
  expect(secretManifest(spec, owner, pool())).toEqual({
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: { name, namespace: 'training', labels },
    type: 'Opaque',
    stringData: { token: 'cat_secret' },
  });
  expect(secretManifest(spec, owner, pool(), 'job-uid').metadata?.ownerReferences).toEqual([
    { apiVersion: 'batch/v1', kind: 'Job', name, uid: 'job-uid' },
  ]);
  expect(JSON.stringify(job())).not.toContain('cat_secret');
});

describe('settings of a pool', () => {
  test('a Job for Kueue is created suspended, in its queue', () => {
    const { metadata, spec: jobSpec } = job({ kueue: { queueName: 'gpus', priorityClass: 'research' } });
    expect(metadata?.labels).toMatchObject({ 'kueue.x-k8s.io/queue-name': 'gpus', 'kueue.x-k8s.io/priority-class': 'research' });
    expect(jobSpec?.suspend).toBe(true);
    expect(jobSpec?.template.metadata?.annotations).toMatchObject({ 'kueue.x-k8s.io/safe-to-forcefully-delete': 'true' });
    expect(job().spec).not.toHaveProperty('suspend');
  });

  test('a pool without GPUs requests none and tolerates no taint', () => {
    const spec = pod({ gpusPerPod: 0, cpu: '500m', memory: '1Gi', sharedMemory: '256Mi' });
    expect(spec?.containers[0]?.resources).toEqual({
      requests: { cpu: '500m', memory: '1342177280' },
      limits: { memory: '1342177280' },
    });
    expect(spec?.tolerations).toEqual([]);
  });

  test('credentials come from a Secret, or from the identity of the pod', () => {
    expect(pod({ storageSecretName: 's3-staging' })?.containers[0]?.envFrom).toEqual([{ secretRef: { name: 's3-staging' } }]);
    expect(pod({ serviceAccountName: 'trainer', workloadIdentity: true })).toMatchObject({
      serviceAccountName: 'trainer',
      automountServiceAccountToken: true,
    });
  });

  test('a folder of the node is mounted read-only unless configured otherwise', () => {
    const mount = { name: 'images', hostPath: '/mnt/landmarks', mountPath: '/data/landmarks' };
    const spec = pod({ nodeMounts: [mount, { ...mount, name: 'store', readOnly: false }] });
    expect(spec?.volumes).toContainEqual({ name: 'node-images', hostPath: { path: '/mnt/landmarks' } });
    expect(spec?.containers[0]?.volumeMounts).toEqual(
      expect.arrayContaining([
        { name: 'node-images', mountPath: '/data/landmarks', readOnly: true },
        { name: 'node-store', mountPath: '/data/landmarks', readOnly: false },
      ]),
    );
  });

  test('a persistent volume is mounted read-only unless configured otherwise', () => {
    const spec = pod({
      claimMounts: [
        { claimName: 'landmarks', mountPath: '/data/landmarks' },
        { claimName: 'scratch', mountPath: '/scratch', readOnly: false },
      ],
    });
    expect(spec?.volumes).toEqual(
      expect.arrayContaining([
        { name: 'claim-0', persistentVolumeClaim: { claimName: 'landmarks', readOnly: true } },
        { name: 'claim-1', persistentVolumeClaim: { claimName: 'scratch', readOnly: false } },
      ]),
    );
    expect(spec?.containers[0]?.volumeMounts).toEqual(
      expect.arrayContaining([
        { name: 'claim-0', mountPath: '/data/landmarks', readOnly: true },
        { name: 'claim-1', mountPath: '/scratch', readOnly: false },
      ]),
    );
  });

  test('scheduling: selector, tolerations, priority, runtime and the nodes to avoid', () => {
    const tolerations = [{ key: 'dedicated', operator: 'Equal' as const, value: 'research', effect: 'NoSchedule' as const }];
    const change = { nodeSelector: { zone: 'a' }, tolerations, priorityClassName: 'low', runtimeClassName: 'nvidia' };
    expect(pod(change, { avoidNodes: ['sick-1', 'sick-2'] })).toMatchObject({
      ...change,
      affinity: {
        nodeAffinity: {
          requiredDuringSchedulingIgnoredDuringExecution: {
            nodeSelectorTerms: [
              {
                matchFields: [
                  { key: 'metadata.name', operator: 'NotIn', values: ['sick-1'] },
                  { key: 'metadata.name', operator: 'NotIn', values: ['sick-2'] },
                ],
              },
            ],
          },
        },
      },
    });
  });

  test("the pool's environment overrides the controller's, but an attempt's own cannot be set", () => {
    const env = pod({ env: { CAIRN_PYTHON: '/opt/python', CAIRN_GPUS: '0' } })?.containers[0]?.env;
    expect(env).toContainEqual({ name: 'CAIRN_PYTHON', value: '/opt/python' });
    // Pods with GPUs that compute on the CPU: a trial without CUDA.
    expect(env).toContainEqual({ name: 'CAIRN_GPUS', value: '0' });
    expect(() => pool({ env: { CAIRN_ATTEMPT_TOKEN: 'x' } })).toThrow(/CAIRN_ATTEMPT_\* are set for each attempt/);
  });

  test('the agent counts its deadline: the Job’s own would start before there is a node', () => {
    const { spec } = job({ deadlineSeconds: 3600 });
    expect(spec?.template.spec?.containers[0]?.env).toContainEqual({ name: 'CAIRN_DEADLINE_SECONDS', value: '3600' });
    expect(spec?.activeDeadlineSeconds).toBeUndefined();
  });

  test('an image without a digest is refused unless tags are allowed', () => {
    expect(() => pool({ image: 'worker:latest' })).toThrow(/pin the image by digest/);
    expect(pool({ image: 'worker:latest', allowTags: true }).image).toBe('worker:latest');
  });

  test('every field has a description', () => {
    for (const [field, schema] of Object.entries(kubernetesPoolSettings.shape)) {
      if (field === 'namespace') expect(schema.description).toBeTruthy();
      expect([field, schema.description ?? '']).toEqual([field, expect.stringMatching(/\w/)]);
    }
  });
});

describe('shared memory', () => {
  test('holds what the loaders need, and one gigabyte more', () => {
    expect(pod({}, { loaderBytes: 6 * 2 ** 30 })?.volumes).toContainEqual({
      name: 'shm',
      emptyDir: { medium: 'Memory', sizeLimit: String(7 * 2 ** 30) },
    });
  });

  test('is what the pool sets, if it does', () => {
    expect(pod({ sharedMemory: '2Gi' }, { loaderBytes: 6 * 2 ** 30 })?.volumes).toContainEqual({
      name: 'shm',
      emptyDir: { medium: 'Memory', sizeLimit: '2147483648' },
    });
  });
});

describe('the name of an attempt', () => {
  test.each([
    ['a name that is too long', `${'long'.repeat(40)}/step/1`],
    ['a name of foreign letters', 'Ümläut run/512_all/12'],
    ['no usable letter', '***'],
    ['a dash at the cut', `${'a'.repeat(47)}--${'b'.repeat(20)}`],
  ])('is a DNS label: %s', (_, long) => {
    expect(objectName({ ...spec, name: long })).toMatch(/^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/);
  });

  test('differs by attempt and by generation', () => {
    const long = 'x'.repeat(100);
    const names = [
      objectName({ attemptId: 'att_1', generation: 1, name: long }),
      objectName({ attemptId: 'att_2', generation: 1, name: long }),
      objectName({ attemptId: 'att_1', generation: 2, name: long }),
    ];
    expect(new Set(names).size).toBe(3);
  });
});

const attempt = (generation = 1) => ({ attemptId: 'att_1', generation });
const ended = aPod({ phase: 'Failed' });

test('the last state of a pod outlives it, until its attempt is forgotten', () => {
  const memory = attemptMemory();
  memory.ended(attempt(), ended);
  expect(memory.endedPod(attempt())).toBe(ended);
  memory.forget('att_1');
  expect(memory.endedPods()).toEqual([]);
  // Kubernetes still reports the pod while it removes it.
  memory.ended(attempt(), ended);
  expect(memory.endedPods()).toEqual([]);
});

test('a late report of an older generation does not end the newer one', () => {
  const memory = attemptMemory();
  memory.ended(attempt(1), ended);
  memory.begin(attempt(2));
  memory.ended(attempt(1), ended);
  expect(memory.endedPods()).toEqual([]);
  expect(memory.endedPod(attempt(2))).toBeNull();
});

test('only a change of the phase counts as a change', () => {
  const memory = attemptMemory();
  const pending = aPod({ phase: 'Pending', containerStatuses: [{ name: 'agent', state: { waiting: { reason: 'ContainerCreating' } } }] });
  const pulling = aPod({ phase: 'Pending', containerStatuses: [{ name: 'agent', state: { waiting: { reason: 'ErrImagePull' } } }] });
  expect([pending, pending, pulling, ended, ended].map((pod) => memory.changed(attempt(), pod))).toEqual([true, false, true, true, false]);
});

test('an intermittent finding keeps the time it was first seen', () => {
  const memory = attemptMemory();
  const first = memory.firstSeen(attempt(), 'image_pull');
  memory.firstSeen(attempt(), 'image_registry_busy');
  expect(memory.firstSeen(attempt(), 'image_pull')).toBe(first);
});

test('the reason why a Job has no pod is cached for a while', async () => {
  const memory = attemptMemory();
  let asked = 0;
  const ask = async () => `answer ${++asked}`;
  expect([await memory.podlessWhy(attempt(), ask), await memory.podlessWhy(attempt(), ask)]).toEqual(['answer 1', 'answer 1']);
});
