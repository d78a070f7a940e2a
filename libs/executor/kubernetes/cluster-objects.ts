import { z } from 'zod';

// Only the fields of Kubernetes' objects that are used. Times come as Dates from the client's lists and as text from its watches;
// both become milliseconds since the epoch. Unknown keys are dropped: thousands of pods are kept in memory.

const time = z.coerce
  .date()
  .transform((date) => date.getTime())
  .nullish();
const text = z.string().nullish();
const quantities = z.record(z.string(), z.string()).nullish();

const metadata = z.object({
  name: z.string(),
  namespace: text,
  uid: z.string(),
  labels: z.record(z.string(), z.string()).nullish(),
  annotations: z.record(z.string(), z.string()).nullish(),
  creationTimestamp: time,
  deletionTimestamp: time,
  ownerReferences: z.array(z.object({ kind: z.string(), name: z.string(), uid: z.string() })).nullish(),
});

const condition = z.object({ type: z.string(), status: z.string(), reason: text, message: text, lastTransitionTime: time });
export type Condition = z.infer<typeof condition>;

const containerState = z.object({
  waiting: z.object({ reason: text, message: text }).nullish(),
  running: z.object({ startedAt: time }).nullish(),
  terminated: z.object({ exitCode: z.number(), reason: text, message: text, finishedAt: time }).nullish(),
});
const resourceHealth = z.object({ resources: z.array(z.object({ health: text })).nullish() });
const containerStatus = z.object({
  name: z.string(),
  state: containerState.nullish(),
  allocatedResourcesStatus: z.array(resourceHealth).nullish(),
});
export type ContainerStatus = z.infer<typeof containerStatus>;

const container = z.object({ resources: z.object({ requests: quantities, limits: quantities }).nullish() });

export const podObject = z.object({
  metadata,
  spec: z.object({
    nodeName: text,
    containers: z.array(container),
    // A sidecar is an init container that restarts: it runs alongside the others.
    initContainers: z.array(container.extend({ restartPolicy: text })).nullish(),
    overhead: quantities,
  }),
  status: z
    .object({
      phase: text,
      reason: text,
      message: text,
      conditions: z.array(condition).nullish(),
      containerStatuses: z.array(containerStatus).nullish(),
      initContainerStatuses: z.array(containerStatus).nullish(),
    })
    .nullish(),
});
export type Pod = z.infer<typeof podObject>;

export const jobObject = z.object({
  metadata,
  spec: z.object({ suspend: z.boolean().nullish() }),
  status: z.object({ conditions: z.array(condition).nullish(), active: z.number().nullish(), failed: z.number().nullish() }).nullish(),
});
export type Job = z.infer<typeof jobObject>;

export const isPod = (object: Job | Pod): object is Pod => 'containers' in object.spec;

export const nodeObject = z.object({
  metadata,
  spec: z
    .object({
      unschedulable: z.boolean().nullish(),
      taints: z.array(z.object({ key: z.string(), value: text, effect: z.string() })).nullish(),
    })
    .nullish(),
  status: z.object({ allocatable: quantities, capacity: quantities, conditions: z.array(condition).nullish() }).nullish(),
});
export type Node = z.infer<typeof nodeObject>;

/** Kueue's object for a Job: its place in the queue, and why it waits there. */
export const workloadObject = z.object({
  metadata,
  status: z
    .object({
      conditions: z.array(condition).nullish(),
      admissionChecks: z.array(z.object({ name: z.string(), state: text, message: text })).nullish(),
    })
    .nullish(),
});
export type Workload = z.infer<typeof workloadObject>;

/** Of Kueue's visibility API: positions count from 0. */
export const pendingWorkloads = z.object({
  items: z
    .array(z.object({ metadata: z.object({ name: z.string() }), positionInLocalQueue: z.number(), positionInClusterQueue: z.number() }))
    .nullish(),
});

/** Only the names of Secrets, never their content. */
export const secretMetadata = z.object({ metadata });
export type SecretMetadata = z.infer<typeof secretMetadata>;

export const eventObject = z.object({
  type: text,
  reason: text,
  message: text,
  count: z.number().nullish(),
  lastTimestamp: time,
  eventTime: time,
});
export type ClusterEvent = z.infer<typeof eventObject>;

export function conditionOf(object: { status?: { conditions?: Condition[] | null | undefined } | null | undefined }, type: string) {
  return object.status?.conditions?.find((candidate) => candidate.type === type);
}
