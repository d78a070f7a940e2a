import { ApiException, ApiextensionsV1Api, CustomObjectsApi, type V1CustomResourceDefinition } from '@kubernetes/client-node';
import { kubeConfig } from './cluster-service.ts';

const extensions = kubeConfig.makeApiClient(ApiextensionsV1Api);
const custom = kubeConfig.makeApiClient(CustomObjectsApi);
const group = 'kueue.x-k8s.io';
const version = 'v1beta2';

/** The kinds of Kueue that Cairn reads: with its own definitions where they are installed, else with some that take any field. */
export async function installKueueTypes(): Promise<() => Promise<void>> {
  const made: string[] = [];
  for (const [kind, plural] of [
    ['Workload', 'workloads'],
    ['LocalQueue', 'localqueues'],
  ] as const) {
    try {
      await extensions.createCustomResourceDefinition({ body: definition(kind, plural) });
      made.push(`${plural}.${group}`);
    } catch (error) {
      if (!(error instanceof ApiException) || error.code !== 409) throw error;
    }
  }
  return async () => {
    for (const name of made) await extensions.deleteCustomResourceDefinition({ name });
  };
}

function definition(kind: string, plural: string): V1CustomResourceDefinition {
  const names = { kind, plural, singular: kind.toLowerCase(), listKind: `${kind}List` };
  const openAPIV3Schema = { type: 'object', x_kubernetes_preserve_unknown_fields: true };
  return {
    metadata: { name: `${plural}.${group}` },
    spec: {
      group,
      scope: 'Namespaced',
      names,
      versions: [{ name: version, served: true, storage: true, subresources: { status: {} }, schema: { openAPIV3Schema } }],
    },
  };
}

export type Told = { type: string; status: 'True' | 'False'; reason: string; message: string };

/** Does what Kueue's controller does in a namespace, as far as Cairn sees it. */
export function playKueue(namespace: string) {
  const place = { group, version, namespace };
  return {
    makeQueue: (name: string) =>
      custom.createNamespacedCustomObject({
        ...place,
        plural: 'localqueues',
        body: { apiVersion: `${group}/${version}`, kind: 'LocalQueue', metadata: { name }, spec: { clusterQueue: 'all' } },
      }),
    /** Takes a Job up, in a Workload of this name. */
    takeUp: (name: string, jobUid: string, queueName: string) =>
      custom.createNamespacedCustomObject({
        ...place,
        plural: 'workloads',
        body: {
          apiVersion: `${group}/${version}`,
          kind: 'Workload',
          metadata: { name, labels: { [`${group}/job-uid`]: jobUid } },
          spec: {
            queueName,
            podSets: [
              { name: 'main', count: 1, template: { spec: { restartPolicy: 'Never', containers: [{ name: 'agent', image: 'none' }] } } },
            ],
          },
        },
      }),
    /** Writes conditions in place of those that were there. */
    async tell(name: string, ...told: Told[]): Promise<void> {
      const conditions = told.map((condition) => ({ ...condition, lastTransitionTime: new Date().toISOString() }));
      const body = [{ op: 'add', path: '/status', value: { conditions } }];
      await custom.patchNamespacedCustomObjectStatus({ ...place, plural: 'workloads', name, body });
    },
  };
}
