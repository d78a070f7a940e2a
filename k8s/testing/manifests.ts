import { kubernetesPoolSettings } from '@cairn/executor';
import type { Manifest } from '@cairn/testing';
import { expect } from 'vitest';
import { z } from 'zod';

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
