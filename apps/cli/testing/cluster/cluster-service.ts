import { randomBytes, randomUUID } from 'node:crypto';
import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { type CairnClient, createClient, createInternalClient, type InternalClient } from '@cairn/client';
import { type ImageSource, type RunView, type StepView, type SubmitRequestInput, stepVersions } from '@cairn/contract';
import { makeMiniDataset, tinyCounts } from '@cairn/mini-dataset';
import { attemptToken, freePort } from '@cairn/runtime';
import { makeRunFolder, ownAddress, removeRunFolder, type S3Options, startS3, type TestS3, waitFor } from '@cairn/testing';
import { BatchV1Api, CoreV1Api, KubeConfig, type V1Job, type V1Pod } from '@kubernetes/client-node';
import { expect } from 'vitest';
import { uploadCollection } from '../../demo/demo-bucket.ts';
import type { Service } from '../../service/start-service.ts';
import { startTestService } from '../start-test-service.ts';
import { runTestCli } from '../test-cli.ts';

export const kubeConfig = new KubeConfig();
kubeConfig.loadFromDefault();
export const core = kubeConfig.makeApiClient(CoreV1Api);
export const batch = kubeConfig.makeApiClient(BatchV1Api);

/** An image with a shell, for attempts that only have to end in a certain way. */
export const shellImage = process.env.CAIRN_TEST_IMAGE ?? 'docker.io/library/busybox:1.37';
export const gpuResource = 'nvidia.com/gpu';
/** This machine's address for pods. */
const host = process.env.CAIRN_TEST_HOST ?? ownAddress();
const storageSecret = 'storage';

export type PoolSettings = Record<string, unknown>;

/** Settings of a pool whose pods are small, fit with or without GPUs, and end soon. */
export const smallPods = { allowTags: true, gpusPerPod: 0, cpu: '10m', memory: '32Mi', sharedMemory: '1Mi', graceSeconds: 30 };

export type OpenOptions = {
  slots?: number;
  home?: string;
  /** The kubeconfig file of the controller; ours by default. */
  kubeconfig?: string;
  /** Where the controller serves its probes. */
  probePort?: number;
  /** Additional variables of every program. */
  variables?: Readonly<Record<string, string>>;
};

export type ClusterWorld = {
  namespace: string;
  /** The images of the recipe `tiny`, on this machine. */
  dataset: string;
  s3: TestS3;
  /** Starts the service on this machine with one pool in the cluster; in the home of an earlier one it has its runs. */
  open(settings: PoolSettings, options?: OpenOptions): Promise<OpenService>;
  jobs(): Promise<V1Job[]>;
  pods(): Promise<V1Pod[]>;
  /** A pod of no attempt that holds GPUs until it is deleted. */
  occupy(gpus: number): Promise<() => Promise<void>>;
  close(): Promise<void>;
};

export type OpenService = {
  service: Service;
  client: CairnClient;
  /** Submits the recipe `tiny` and returns the run's id. */
  submit(request?: Partial<SubmitRequestInput>): Promise<string>;
  run(id: string): Promise<RunView>;
  step(id: string, name: string): Promise<StepView>;
  /** The output of `cairn show`. */
  show(id: string): Promise<string>;
  close(): Promise<void>;
};

export type WorldOptions = Pick<S3Options, 'program'> & {
  /** Where pods find the images: on the node, in a folder that the pool mounts, or in the bucket, so that they mount none. */
  images?: 'node' | 'bucket';
};

/** A namespace, an object storage and a dataset for one test file or benchmark; closing removes all of them. */
export async function openWorld({ images = 'node', ...options }: WorldOptions = {}): Promise<ClusterWorld> {
  const namespace = `cairn-run-${randomBytes(4).toString('hex')}`;
  const folder = await makeRunFolder();
  // Mounted at its own path, which no volume of a pod may cover.
  const dataset = await mkdtemp('/var/tmp/cairn-test-dataset-');
  const s3 = await startS3({ ...options, host });
  const opened: OpenService[] = [];
  await makeMiniDataset({ out: dataset, seed: 0, counts: tinyCounts });
  await chmod(dataset, 0o755);
  const source = images === 'bucket' ? await sourceInBucket(dataset, s3) : sourceInFolder(dataset);
  await core.createNamespace({ body: { metadata: { name: namespace, labels: { 'pod-security.kubernetes.io/warn': 'restricted' } } } });
  await core.createNamespacedSecret({ namespace, body: { metadata: { name: storageSecret }, stringData: s3.env } });

  const pods = async () => (await core.listNamespacedPod({ namespace })).items;

  async function open(
    settings: PoolSettings,
    { slots = 8, home = `home-${opened.length}`, kubeconfig = process.env.KUBECONFIG, probePort, variables }: OpenOptions = {},
  ): Promise<OpenService> {
    const internalPort = await freePort();
    const pool = { name: 'pods', executor: 'kubernetes', slots, settings: { namespace, storageSecretName: storageSecret, ...settings } };
    const service = await startTestService({
      home: join(folder, home),
      internalPort,
      slots: 1,
      python: process.env.CAIRN_PYTHON,
      env: { PATH: process.env.PATH, HOME: process.env.HOME, KUBECONFIG: kubeconfig, ...s3.env },
      variables: {
        CAIRN_STORAGE_URL: s3.url(home),
        CAIRN_INTERNAL_HOST: '0.0.0.0',
        CAIRN_INTERNAL_URL: `http://${host}:${internalPort}`,
        CAIRN_POOLS: JSON.stringify([pool]),
        CAIRN_INSTANCE: namespace,
        ...(images === 'bucket' ? { CAIRN_DATASET_URLS: s3.url('datasets') } : {}),
        ...variables,
      },
      ...(probePort !== undefined && { controllerVariables: { CAIRN_PROBE_PORT: String(probePort) } }),
      datasetRoots: [dataset],
      signal: AbortSignal.timeout(120_000),
    });
    const client = createClient({ url: service.url, token: service.token });
    await client.addDataset({ name: 'mini', source });
    const one: OpenService = {
      service,
      client,
      submit: async (request = {}) => (await client.submitRun({ recipe: 'tiny', dataset: 'mini', ...request })).id,
      run: (id) => client.getRun(id),
      async step(id, name) {
        const step = (await client.getRun(id)).stepViews.find((candidate) => candidate.name === name);
        if (step === undefined) throw new Error(`run ${id} has no step ${name}`);
        return step;
      },
      async show(id) {
        const { out } = await runTestCli(['show', id], { url: service.url, env: { CAIRN_TOKEN: service.token } });
        return out;
      },
      close: service.close,
    };
    opened.push(one);
    return one;
  }

  async function occupy(gpus: number) {
    const container = {
      name: 'other',
      image: shellImage,
      imagePullPolicy: 'IfNotPresent',
      command: ['sleep', '3600'],
      resources: { limits: { [gpuResource]: String(gpus) } },
    };
    const body = {
      metadata: { generateName: 'other-' },
      spec: { restartPolicy: 'Never', terminationGracePeriodSeconds: 0, tolerations: [{ operator: 'Exists' }], containers: [container] },
    };
    const name = (await core.createNamespacedPod({ namespace, body })).metadata?.name ?? '';
    const phase = async () => (await core.readNamespacedPod({ namespace, name })).status?.phase;
    await waitFor(async () => (await phase()) === 'Running', { timeoutMs: 60_000, intervalMs: 200, message: 'the pod that occupies GPUs' });
    return async () => void (await core.deleteNamespacedPod({ namespace, name, gracePeriodSeconds: 0 }));
  }

  return {
    namespace,
    dataset,
    s3,
    open,
    jobs: async () => (await batch.listNamespacedJob({ namespace })).items,
    pods,
    occupy,
    async close() {
      for (const one of opened) await one.close();
      for (const { metadata } of await pods()) {
        await core.deleteNamespacedPod({ name: metadata?.name ?? '', namespace, gracePeriodSeconds: 0 }).catch(() => undefined);
      }
      await core.deleteNamespace({ name: namespace });
      await s3.stop();
      await removeRunFolder(folder);
      await rm(dataset, { recursive: true, force: true });
    },
  };
}

function sourceInFolder(dataset: string): ImageSource {
  const [root, metadata, countries] = ['images', 'metadata', 'countries'].map((name) => join(dataset, name)) as [string, string, string];
  return { kind: 'folder', root, metadata, countries };
}

/** Uploaded with the credentials of the server, which this process otherwise does not have. */
async function sourceInBucket(dataset: string, s3: TestS3): Promise<ImageSource> {
  const before = Object.keys(s3.env).map((name) => [name, process.env[name]] as const);
  Object.assign(process.env, s3.env);
  try {
    const root = await uploadCollection({ url: s3.url }, dataset, AbortSignal.timeout(60_000));
    return { kind: 'tars', root, metadata: `${root}/metadata`, countries: `${root}/countries` };
  } finally {
    for (const [name, value] of before) {
      if (value === undefined) delete process.env[name];
      else process.env[name] = value;
    }
  }
}

export const eventually = <T>(read: () => T | Promise<T>, timeout = 60_000) => expect.poll(read, { timeout, interval: 200 });

/** A client that acts as the agent of an attempt, and has reported that it runs. */
export async function clientAsAgent({ service }: Pick<OpenService, 'service'>, attemptId: string): Promise<InternalClient> {
  const { internalUrl, home: files } = service;
  const client = createInternalClient({
    urls: [internalUrl],
    attemptId,
    generation: 1,
    token: attemptToken(files.serverKey, attemptId, 1),
    signal: AbortSignal.timeout(300_000),
  });
  await client.start({ host: 'test', pid: 1, instance: randomUUID(), version: 'test', stepVersions });
  return client;
}
