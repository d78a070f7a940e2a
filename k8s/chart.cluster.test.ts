// CI runs this when k8s, .ci change, else one time in three; it takes about 10 s.

import { execFile } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { helm } from '@cairn/testing';
import { expect, onTestFinished, test } from 'vitest';
import { parse } from 'yaml';
import { z } from 'zod';
import { at, changed, chart, environmentOf, everything, minimal, of, podSpecs, poolsOf, render, withValues } from './testing/chart.ts';

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
    [
      'cairn-internal',
      [
        { name: 'internal', port: 8081, targetPort: 'internal', appProtocol: 'http' },
        { name: 'metrics', port: 8082, targetPort: 'metrics', appProtocol: 'http' },
      ],
    ],
  ]);
  expect(manifests.filter(({ kind }) => ['Ingress', 'ServiceMonitor', 'PodMonitor'].includes(kind))).toEqual([]);
});

test('the chart of a release names its image by the registry and the digest, and installs with nothing else about it', async () => {
  const out = await mkdtemp(join(tmpdir(), 'cairn-chart-'));
  onTestFinished(() => rm(out, { recursive: true }));
  const digest = `sha256:${'a'.repeat(64)}`;
  const env = { ...process.env, CAIRN_REGISTRY: 'registry.example/team', CAIRN_HELM: process.env.CAIRN_HELM ?? 'helm' };
  const script = join(import.meta.dirname, '..', '.ci', 'release', 'chart');
  const { stdout } = await promisify(execFile)(script, ['9.8.7', out, digest], { env });
  const { image: _, ...values } = minimal;
  const text = await withValues(values, (file) => helm('template', 'cairn', stdout.trim(), '--kube-version', '1.31.0', '--values', file));
  expect(text).toContain(`image: "registry.example/team/cairn/control-plane@${digest}"`);
  expect(text).toContain('helm.sh/chart: cairn-9.8.7');
});

test('every example installs with the minimal values', async () => {
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

test('CAIRN_POOLS holds pools as the executor reads them, dollars and quotes among them', async () => {
  const { manifests } = await render(everything);
  const [gpu, , further] = poolsOf(manifests);
  expect(gpu).toMatchObject({ name: 'gpu', executor: 'kubernetes', slots: 32 });
  expect(gpu?.settings.env).toEqual({ PRICE: '$5 "each" $(HOME)' });
  expect(gpu?.settings.imagePullSecrets).toEqual(['registry']);
  expect(further?.settings.imagePullSecrets).toEqual([]);
  expect(further?.settings.keepFinishedSeconds).toBe(31_536_000);
});

test('limits, addresses and the cache reach the programs that use them, whole numbers as such', async () => {
  const { manifests } = await render(everything);
  const shared = { CAIRN_PROJECT_RUNS: '2000000', CAIRN_OWNER_RUNS: '0', CAIRN_DELIVERY_HOSTS: 'hooks.example,*.corp.example' };
  expect(environmentOf(manifests, 'cairn-api')).toMatchObject({ ...shared, CAIRN_CACHE_MB: '4000' });
  expect(environmentOf(manifests, 'cairn-controller')).toMatchObject({ ...shared, CAIRN_PUBLIC_URL: 'https://cairn.example' });
  const plain = environmentOf((await render()).manifests, 'cairn-controller');
  for (const name of ['CAIRN_PUBLIC_URL', 'CAIRN_DELIVERY_HOSTS']) expect(plain).not.toHaveProperty(name);
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

test('Chart.yaml has the version of the programs', async () => {
  const { version } = z
    .object({ version: z.string() })
    .parse(JSON.parse(await readFile(join(import.meta.dirname, '../package.json'), 'utf8')));
  expect(parse(await readFile(join(chart, 'Chart.yaml'), 'utf8'))).toMatchObject({ appVersion: version });
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
