import { z } from 'zod';
import { containerSettings, path, quantity, refineContainer, seconds } from '../container-settings.ts';

/** A valid name for a Kubernetes object: the namespace, a Secret, a ServiceAccount. */
const objectName = z
  .string()
  .regex(/^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$/, 'use lower-case letters, digits, dash and dot, first and last a letter or digit');

const toleration = z
  .strictObject({
    key: z.string().optional().describe('the taint; absent together with the operator Exists means every taint'),
    operator: z.enum(['Exists', 'Equal']).default('Equal').describe('Equal compares `value`; Exists does not'),
    value: z.string().optional().describe('the value of the taint'),
    effect: z.enum(['NoSchedule', 'PreferNoSchedule', 'NoExecute']).optional().describe('absent means every effect'),
    tolerationSeconds: z.number().int().min(0).optional().describe('with NoExecute: for how long the taint is tolerated'),
  })
  .refine((value) => value.operator === 'Exists' || value.key !== undefined, 'name the key, or set operator to Exists')
  .refine((value) => value.operator === 'Equal' || value.value === undefined, 'Exists takes no value');

const nodeMount = z.strictObject({
  name: z
    .string()
    .regex(/^[a-z0-9]([a-z0-9-]{0,40}[a-z0-9])?$/, 'lower-case letters, digits and dash')
    .describe('of the volume'),
  hostPath: path.describe('the folder or file on the node, which must exist'),
  mountPath: path.describe('where the container sees it'),
  readOnly: z.boolean().default(true).describe('whether the container may only read it'),
});

const claimMount = z.strictObject({
  claimName: objectName.describe('the PersistentVolumeClaim, in the namespace of the pool'),
  mountPath: path.describe('where the container sees it'),
  readOnly: z.boolean().default(true).describe('whether the container may only read it'),
});

/** A pool whose attempts are pods: the Kubernetes part of its configuration. */
export const kubernetesPoolSettings = z
  .strictObject({
    namespace: objectName.describe('where Jobs and Secrets are created; preferably used by no other program'),
    ...containerSettings,
    imagePullPolicy: z.enum(['IfNotPresent', 'Always', 'Never']).default('IfNotPresent').describe('when the node pulls the image'),
    imagePullSecrets: z.array(objectName).default([]).describe('Secrets with credentials of the registry'),

    gpusPerPod: z.number().int().min(0).max(64).default(8).describe('GPUs of a pod, as limit and request of `gpuResource`'),
    gpuResource: z.string().default('nvidia.com/gpu').describe('the resource that a device plugin advertises'),
    cpu: quantity.default('8').describe('cores requested for a pod; there is no limit'),
    memory: quantity.default('64Gi').describe('memory of the processes of a pod, as request and limit; shared memory comes on top'),
    workDirSize: quantity.optional().describe("maximum size of the attempt's work folder; default: what the node has"),

    nodeSelector: z.record(z.string(), z.string()).default({}).describe('labels that a node must have'),
    tolerations: z
      .array(toleration)
      .optional()
      .describe('taints that the pods tolerate; default: every NoSchedule taint of `gpuResource` when a pod has GPUs'),
    priorityClassName: objectName.optional().describe('priority of the pods'),
    runtimeClassName: objectName.optional().describe('the container runtime, `nvidia` where it is not the default'),

    serviceAccountName: objectName.optional().describe('the identity of the pods'),
    workloadIdentity: z
      .boolean()
      .default(false)
      .describe('mount the token of the service account: for object storage by workload identity, without a Secret'),
    storageSecretName: objectName
      .optional()
      .describe('a Secret whose keys become environment variables: credentials of the object storage'),
    podLabels: z.record(z.string(), z.string()).default({}).describe('additional labels, which some workload identities require'),
    podAnnotations: z.record(z.string(), z.string()).default({}).describe('additional annotations'),
    nodeMounts: z
      .array(nodeMount)
      .default([])
      .describe('folders of the node: a cache of images or Python packages; Pod Security `baseline` and `restricted` forbid them'),
    claimMounts: z.array(claimMount).default([]).describe('persistent volumes: a file system with images that all nodes share'),

    keepFinishedSeconds: seconds
      .default(7 * 86_400)
      .describe('after this long Kubernetes removes a finished Job that the controller did not'),
    autoscales: z.boolean().default(false).describe('nodes are added when pods wait: start attempts that no node can hold now'),
    kueue: z
      .strictObject({
        queueName: objectName.describe('the LocalQueue'),
        priorityClass: objectName.optional().describe('the WorkloadPriorityClass'),
      })
      .optional()
      .describe('hand Jobs to Kueue, which starts them when their quota is free'),
  })
  .superRefine(refineContainer)
  .refine((pool) => new Set(pool.nodeMounts.map((mount) => mount.name)).size === pool.nodeMounts.length, {
    path: ['nodeMounts'],
    message: 'two mounts have the same name',
  });
export type KubernetesPoolSettings = z.infer<typeof kubernetesPoolSettings>;
