// CI runs this when k8s/cairn, k8s/testing, docker/control-plane, prisma/migrations change, else one time in three; it takes about 480 s.

import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import type { RunEvent, RunView } from '@cairn/contract';
import { withClient } from '@cairn/testing';
import type { V1Pod } from '@kubernetes/client-node';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { type Backup, gpuResource, type InstalledService, installService, nameAnnotation, recipe } from './testing/installed-service.ts';

// The chart from its images, with a whole run in it, an upgrade in the middle of another, and its end.
vi.setConfig({ testTimeout: 1_800_000, hookTimeout: 600_000 });

const controlPlaneImage = process.env.CAIRN_TEST_CONTROL_PLANE_IMAGE ?? '';
const workerImage = process.env.CAIRN_TEST_WORKER_IMAGE ?? '';
const nextImage = `cairn-control-plane:next-${process.pid}`;
/** A first stage that is still at it when the control plane begins to be replaced, or a backup ends; `mini` takes its time anyway. */
const set = recipe === 'tiny' ? { 'stages.384.epochs': 60, 'stages.384.checkpointEverySteps': 4 } : {};

let one: InstalledService;
let reference: RunView;
beforeAll(async () => {
  one = await installService(controlPlaneImage, workerImage);
});
afterAll(async () => {
  await one?.close();
  await removeImage(nextImage);
});

const eventually = <T>(read: () => T | Promise<T>, timeout = 900_000) => expect.poll(read, { timeout, interval: 500 });
const events = async (id: string): Promise<RunEvent[]> => {
  const all: RunEvent[] = [];
  for (;;) {
    const { items } = await one.client.listRunEvents(id, { after: all.at(-1)?.seq ?? 0 });
    if (items.length === 0) return all;
    all.push(...items);
  }
};
const mapOf = (run: RunView) => run.stepViews.find((step) => step.name === 'evaluate')?.scores.mapAt100;

/** Pods of attempts by the attempt's name, as long as they were there. */
const seen = new Map<string, V1Pod>();
async function ended(id: string): Promise<RunView> {
  await eventually(async () => {
    for (const pod of await one.pods(one.attempts)) seen.set(pod.metadata?.annotations?.[nameAnnotation] ?? '', pod);
    return (await one.client.getRun(id)).state;
  }).toMatch(/succeeded|failed|cancelled/);
  const run = await one.client.getRun(id);
  expect(run.stepViews.map(({ name, state, failure }) => ({ name, state, failure }))).toEqual(
    run.stepViews.map(({ name }) => ({ name, state: 'succeeded', failure: null })),
  );
  return run;
}

async function attemptsOf(run: RunView) {
  return (await Promise.all(run.stepViews.map(async ({ name }) => (await one.client.listAttempts(run.id, name)).items))).flat();
}

test('a run that is submitted to the service comes to its mAP in pods of 8 GPUs', async () => {
  const { id } = await one.client.submitRun({ recipe, dataset: 'mini', set });
  reference = await ended(id);
  expect(mapOf(reference)).toBeGreaterThan(recipe === 'tiny' ? 0 : 0.5);
  for (const { name, kind, shards } of reference.stepViews) if (kind === 'extract') expect(shards?.rows, name).toBeGreaterThan(0);

  const inPods = (await attemptsOf(reference)).filter(({ pool }) => pool === 'gpu');
  const gpuSteps = reference.stepViews.filter(({ kind }) => ['train', 'export', 'extract'].includes(kind));
  expect([...new Set(inPods.map(({ step }) => step))]).toEqual(gpuSteps.map(({ name }) => name));
  for (const { step, ordinal } of inPods) {
    const pod = seen.get(`${reference.name}/${step}/${ordinal}`);
    expect(pod?.spec?.containers[0], step).toMatchObject({ image: workerImage, resources: { limits: { [gpuResource]: '8' } } });
  }
});

test('pods of attempts hold no credential and no address but those of /internal and the object store', () => {
  const [pod] = seen.values();
  const text = JSON.stringify(pod?.spec);
  for (const secret of one.secrets) expect(text).not.toContain(secret);
  const variables = pod?.spec?.containers[0]?.env?.map(({ value }) => value ?? '') ?? [];
  expect(variables.filter((value) => value.includes('://')).toSorted()).toEqual(one.reachable.toSorted());
  expect(pod?.spec).toMatchObject({
    automountServiceAccountToken: false,
    enableServiceLinks: false,
    serviceAccountName: `${one.namespace}-cairn-attempt`,
  });
  expect(pod?.spec?.containers[0]?.envFrom).toEqual([{ secretRef: { name: 'attempt-storage' } }]);
  expect(pod?.spec?.volumes?.filter((volume) => volume.projected || volume.secret || volume.hostPath)).toEqual([]);
});

test('the controller has nothing but its ServiceAccount to reach the cluster with, and the other programs not even that', async () => {
  for (const { metadata, spec } of await one.pods(one.namespace)) {
    const isController = metadata?.labels?.['app.kubernetes.io/component'] === 'controller';
    const volumes = spec?.volumes?.filter((volume) => volume.projected || volume.secret || volume.hostPath) ?? [];
    expect(spec?.serviceAccountName).toBe(isController ? 'cairn-controller' : 'cairn');
    expect(volumes).toHaveLength(isController ? 1 : 0);
    expect(spec?.containers[0]?.env?.map(({ name }) => name)).not.toContain('KUBECONFIG');
  }
});

test('an upgrade to a build with another schema and protocol in the middle of a run restarts nothing and changes no result', async () => {
  await buildAndLoad(nextImage, `${import.meta.dirname}/testing/next-release`, { BASE: controlPlaneImage });
  const { id, name } = await one.client.submitRun({ recipe, dataset: 'mini', set, noReuse: true });
  await eventually(async () => (await events(id)).map(({ type }) => type)).toContain('checkpoint');
  const beganAt = new Date();
  await one.upgrade(nextImage);
  const upgradedAt = new Date();
  const images = (await one.pods(one.namespace)).filter(({ metadata }) => metadata?.deletionTimestamp === undefined);
  expect(images.map(({ spec }) => spec?.containers[0]?.image)).toEqual(images.map(() => nextImage));
  const rows = await withClient(one.postgres.url, async (database) => (await database.query('select "later" from "run"')).rows);
  expect(rows).toEqual(rows.map(() => ({ later: 7 })));

  const run = await ended(id);
  expect(run.name).toBe(name);
  expect(mapOf(run)).toBe(mapOf(reference));
  const attempts = await attemptsOf(run);
  expect(attempts.map(({ step, ordinal, state }) => ({ step, ordinal, state }))).toEqual(
    attempts.map(({ step }) => ({ step, ordinal: expect.any(Number), state: 'succeeded' })),
  );
  const training = attempts.filter(({ step }) => run.stepViews.find((view) => view.name === step)?.kind === 'train');
  expect(training.map(({ step, ordinal }) => [step, ordinal])).toEqual(
    run.stepViews.filter(({ kind }) => kind === 'train').map((step) => [step.name, 1]),
  );
  // The stage that was training continued to its end, reporting to either release.
  const [first] = training;
  expect(new Date(first?.startedAt ?? 0) < beganAt && new Date(first?.endedAt ?? 0) > beganAt).toBe(true);
  // The same worker image, an agent of the protocol before, serves the next release too.
  expect(training.some(({ createdAt }) => new Date(createdAt) > upgradedAt)).toBe(true);
});

/** A run that an uninstall cut off, and what was backed up while it trained. */
let cutOff = '';
let backup: Backup;

test('uninstall leaves nothing, in either namespace and in the cluster, also of a run that is not over', async () => {
  const { id } = await one.client.submitRun({ recipe, dataset: 'mini', set, noReuse: true });
  cutOff = id;
  await eventually(async () => (await events(id)).map(({ type }) => type)).toContain('checkpoint');
  expect((await one.pods(one.attempts)).map(({ status }) => status?.phase)).toEqual(['Running']);
  backup = await one.backUp();
  // Or the copy of the bucket would lack the stage's checkpoints: they go when it ends.
  expect((await one.client.getRun(id)).stepViews.find(({ name }) => name === '384')?.state).toBe('active');
  await one.uninstall();
  await eventually(one.objects, 120_000).toEqual(one.before);
});

test('a new install over a backup of database and bucket goes on with the run that trained meanwhile, though its keys are new', async () => {
  await one.restore(backup);
  const run = await ended(cutOff);
  expect(mapOf(run)).toBe(mapOf(reference));
  const training = (await attemptsOf(run)).filter(({ step }) => step === '384');
  expect(training.map(({ state }) => state)).toEqual([expect.stringMatching(/lost|preempted/), 'succeeded']);
  expect(training[1]?.resumedFrom?.step).toBeGreaterThan(0);
});

const run = promisify(execFile);
const limitMs = 300_000;

/** Builds an image with the Docker engine and brings it to the nodes, with the program that CAIRN_TEST_LOAD_IMAGE names. */
async function buildAndLoad(image: string, folder: string, buildArgs: Record<string, string>): Promise<void> {
  const options = Object.entries(buildArgs).flatMap(([name, value]) => ['--build-arg', `${name}=${value}`]);
  await run('docker', ['build', '--tag', image, ...options, folder], { timeout: limitMs });
  const [program = '', ...args] = (process.env.CAIRN_TEST_LOAD_IMAGE ?? '').split(' ');
  await run(program, [...args, image], { timeout: limitMs });
}

/** Removes an image from the engine; that of the nodes stays. */
async function removeImage(image: string): Promise<void> {
  await run('docker', ['image', 'rm', '--force', image], { timeout: limitMs });
}
