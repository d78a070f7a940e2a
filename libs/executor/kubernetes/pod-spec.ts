import type { FailureSignal } from '@cairn/contract';
import type { V1Container, V1EnvVar, V1Job, V1PodSpec, V1Secret, V1Toleration, V1Volume, V1VolumeMount } from '@kubernetes/client-node';
import {
  agentEnvironment,
  attemptLabels,
  nameAnnotation,
  objectName,
  ownerReference,
  type PoolIdentity,
  tokenVariable,
  workDir,
} from '../attempt-containers.ts';
import { parseQuantity, sharedMemoryBytes } from '../container-settings.ts';
import type { LaunchSpec } from '../executor.ts';
import { isPod, type Job, type Pod } from './cluster-objects.ts';
import type { KubernetesPoolSettings } from './pool-settings.ts';

export const agentContainer = 'agent';
const tokenKey = 'token';
/** Beyond the grace period that the agent knows of, for the last upload to end. */
const graceMarginSeconds = 5;

/** Which rule of the Job's podFailurePolicy failed it: the only trace left when its pod is gone. */
export const failureRules = { disruption: 0, exitCode: 1 } as const;

/** Holds the attempt's token. It is created before the Job that refers to it, and belongs to the Job once that has a UID. */
export function secretManifest(spec: LaunchSpec, owner: PoolIdentity, settings: KubernetesPoolSettings, jobUid?: string): V1Secret {
  const name = objectName(spec);
  return {
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: {
      name,
      namespace: settings.namespace,
      labels: attemptLabels(spec, owner),
      ...(jobUid !== undefined && { ownerReferences: [ownerReference(name, jobUid)] }),
    },
    type: 'Opaque',
    stringData: { [tokenKey]: spec.env[tokenVariable] ?? '' },
  };
}

/** One attempt: one Job with one pod that is never replaced. */
export function jobManifest(spec: LaunchSpec, owner: PoolIdentity, settings: KubernetesPoolSettings): V1Job {
  const { kueue } = settings;
  const labels = attemptLabels(spec, owner);
  return {
    apiVersion: 'batch/v1',
    kind: 'Job',
    metadata: {
      name: objectName(spec),
      namespace: settings.namespace,
      labels: {
        ...labels,
        ...(kueue && { 'kueue.x-k8s.io/queue-name': kueue.queueName }),
        ...(kueue?.priorityClass && { 'kueue.x-k8s.io/priority-class': kueue.priorityClass }),
      },
      annotations: { [nameAnnotation]: spec.name },
    },
    spec: {
      parallelism: 1,
      completions: 1,
      backoffLimit: 0,
      // Set here as well as by Kueue's webhook: without the webhook a Job would jump the queue.
      ...(kueue && { suspend: true }),
      ttlSecondsAfterFinished: settings.keepFinishedSeconds,
      podReplacementPolicy: 'Failed',
      // A disruption fails the Job too: a replacement pod would be a second process with the same token. The control plane
      // creates a new attempt. In addition to backoffLimit 0 the rules only give the condition that says why, which outlives the pod.
      podFailurePolicy: {
        rules: [
          { action: 'FailJob', onPodConditions: [{ type: 'DisruptionTarget', status: 'True' }] },
          { action: 'FailJob', onExitCodes: { containerName: agentContainer, operator: 'NotIn', values: [0] } },
        ],
      },
      template: {
        metadata: {
          labels: { ...settings.podLabels, ...labels },
          annotations: {
            ...settings.podAnnotations,
            [nameAnnotation]: spec.name,
            'karpenter.sh/do-not-disrupt': 'true',
            'cluster-autoscaler.kubernetes.io/safe-to-evict': 'false',
            ...(kueue && { 'kueue.x-k8s.io/safe-to-forcefully-delete': 'true' }),
          },
        },
        spec: podSpec(spec, settings),
      },
    },
  };
}

function podSpec(spec: LaunchSpec, settings: KubernetesPoolSettings): V1PodSpec {
  const { runAsUser } = settings;
  return {
    restartPolicy: 'Never',
    terminationGracePeriodSeconds: settings.graceSeconds + graceMarginSeconds,
    // An attempt does not need the addresses of all services of the namespace.
    enableServiceLinks: false,
    automountServiceAccountToken: settings.workloadIdentity,
    ...(settings.serviceAccountName && { serviceAccountName: settings.serviceAccountName }),
    ...(settings.priorityClassName && { priorityClassName: settings.priorityClassName }),
    ...(settings.runtimeClassName && { runtimeClassName: settings.runtimeClassName }),
    nodeSelector: settings.nodeSelector,
    tolerations: tolerations(settings),
    ...avoiding(spec.avoidNodes ?? []),
    imagePullSecrets: settings.imagePullSecrets.map((name) => ({ name })),
    securityContext: {
      runAsNonRoot: true,
      runAsUser,
      runAsGroup: runAsUser,
      fsGroup: runAsUser,
      seccompProfile: { type: 'RuntimeDefault' },
    },
    containers: [container(spec, settings)],
    volumes: volumes(spec, settings),
  };
}

function container(spec: LaunchSpec, settings: KubernetesPoolSettings): V1Container {
  const { gpusPerPod, gpuResource } = settings;
  const gpus: Record<string, string> = gpusPerPod > 0 ? { [gpuResource]: String(gpusPerPod) } : {};
  const memory = String(parseQuantity(settings.memory) + sharedMemoryBytes(spec, settings));
  return {
    name: agentContainer,
    image: settings.image,
    imagePullPolicy: settings.imagePullPolicy,
    ...(settings.command && { command: settings.command }),
    env: environment(spec, settings),
    ...(settings.storageSecretName && { envFrom: [{ secretRef: { name: settings.storageSecretName } }] }),
    resources: { requests: { cpu: settings.cpu, memory, ...gpus }, limits: { memory, ...gpus } },
    securityContext: {
      allowPrivilegeEscalation: false,
      privileged: false,
      readOnlyRootFilesystem: true,
      capabilities: { drop: ['ALL'] },
    },
    // The end of the log is in the pod's status: readable when the node no longer answers.
    terminationMessagePolicy: 'FallbackToLogsOnError',
    volumeMounts: mounts(settings),
  };
}

function environment(spec: LaunchSpec, settings: KubernetesPoolSettings): V1EnvVar[] {
  const values = agentEnvironment(spec, { ...settings, gpus: settings.gpusPerPod });
  return [
    ...Object.entries(values).map(([name, value]) => ({ name, value })),
    { name: tokenVariable, valueFrom: { secretKeyRef: { name: objectName(spec), key: tokenKey } } },
  ];
}

function volumes(spec: LaunchSpec, settings: KubernetesPoolSettings): V1Volume[] {
  return [
    { name: 'work', emptyDir: settings.workDirSize === undefined ? {} : { sizeLimit: settings.workDirSize } },
    { name: 'tmp', emptyDir: {} },
    { name: 'shm', emptyDir: { medium: 'Memory', sizeLimit: String(sharedMemoryBytes(spec, settings)) } },
    ...settings.nodeMounts.map(({ name, hostPath }) => ({ name: `node-${name}`, hostPath: { path: hostPath } })),
    ...settings.claimMounts.map(({ claimName, readOnly }, index) => ({
      name: claimVolume(index),
      persistentVolumeClaim: { claimName, readOnly },
    })),
  ];
}

function mounts(settings: KubernetesPoolSettings): V1VolumeMount[] {
  return [
    { name: 'work', mountPath: workDir },
    { name: 'tmp', mountPath: '/tmp' },
    { name: 'shm', mountPath: '/dev/shm' },
    ...settings.nodeMounts.map(({ name, mountPath, readOnly }) => ({ name: `node-${name}`, mountPath, readOnly })),
    ...settings.claimMounts.map(({ mountPath, readOnly }, index) => ({ name: claimVolume(index), mountPath, readOnly })),
  ];
}

/** A claim's name may be longer than a volume's. */
const claimVolume = (index: number): string => `claim-${index}`;

export function tolerations(settings: KubernetesPoolSettings): V1Toleration[] {
  if (settings.tolerations) return settings.tolerations.map(withoutUndefined);
  return settings.gpusPerPod > 0 ? [{ key: settings.gpuResource, operator: 'Exists', effect: 'NoSchedule' }] : [];
}

/** A node field takes one value per expression. */
function avoiding(nodes: readonly string[]): Pick<V1PodSpec, 'affinity'> {
  if (nodes.length === 0) return {};
  const matchFields = nodes.map((node) => ({ key: 'metadata.name', operator: 'NotIn', values: [node] }));
  return { affinity: { nodeAffinity: { requiredDuringSchedulingIgnoredDuringExecution: { nodeSelectorTerms: [{ matchFields }] } } } };
}

/** exactOptionalPropertyTypes: a key that is absent in the settings is absent in the manifest. */
function withoutUndefined(toleration: NonNullable<KubernetesPoolSettings['tolerations']>[number]): V1Toleration {
  const { key, operator, value, effect, tolerationSeconds } = toleration;
  return {
    operator,
    ...(key !== undefined && { key }),
    ...(value !== undefined && { value }),
    ...(effect !== undefined && { effect }),
    ...(tolerationSeconds !== undefined && { tolerationSeconds }),
  };
}

type Identity = { attemptId: string; generation: number };

/** State that the cluster does not keep, or reports too late. Losing it in a restart costs a message, never an attempt. */
export type AttemptMemory = {
  /** The pod has ended: its last state outlives it. */
  ended(identity: Identity, pod: Pod): void;
  endedPod(identity: Identity): Pod | null;
  endedPods(): (Identity & { pod: Pod })[];
  /** True when the object's phase has changed since the last call. */
  changed(identity: Identity, object: Job | Pod): boolean;
  /** Milliseconds since the epoch at which the signal was first queried. */
  firstSeen(identity: Identity, signal: FailureSignal): number;
  /** When an earlier stop will kill the pod, or infinity. */
  killAt(podUid: string): number;
  willBeKilled(podUid: string, at: number): void;
  /** Why a Job has no pod: fetched again only after a while. */
  podlessWhy(identity: Identity, ask: () => Promise<string | null>): Promise<string | null>;
  /** This generation of the attempt is started: what is known of older ones is obsolete. */
  begin(identity: Identity): void;
  forget(attemptId: string): void;
  isForgotten(identity: Identity): boolean;
  /** Drops the notes of attempts that are no longer seen. */
  keepOnly(attemptIds: ReadonlySet<string>): void;
};

const refreshMs = 15_000;
/** Long enough for Kubernetes to remove what was deleted, and for a leader to observe it; a spare never does. */
const keptForMs = 600_000;

export function attemptMemory(): AttemptMemory {
  const pods = new Map<string, Identity & { pod: Pod; at: number }>();
  const phases = new Map<string, string>();
  const seen = new Map<string, Map<FailureSignal, number>>();
  const kills = new Map<string, number>();
  const whys = new Map<string, { at: number; why: string | null }>();
  const forgotten = new Map<string, number>();
  const begun = new Map<string, { generation: number; at: number }>();

  return {
    ended({ attemptId, generation }, pod) {
      kills.delete(pod.metadata.uid);
      for (const [other, { at }] of pods) if (Date.now() - at > keptForMs) pods.delete(other);
      if (generation < (begun.get(attemptId)?.generation ?? 0)) return;
      if (!forgotten.has(attemptId)) pods.set(attemptId, { attemptId, generation, pod, at: pods.get(attemptId)?.at ?? Date.now() });
    },
    endedPod({ attemptId, generation }) {
      const known = pods.get(attemptId);
      return known?.generation === generation ? known.pod : null;
    },
    endedPods: () => [...pods.values()],
    changed({ attemptId }, object) {
      const key = `${attemptId} ${object.metadata.uid}`;
      const phase = phaseOf(object);
      if (phases.get(key) === phase) return false;
      phases.set(key, phase);
      return true;
    },
    firstSeen({ attemptId }, signal) {
      const signals = seen.get(attemptId) ?? new Map<FailureSignal, number>();
      seen.set(attemptId, signals);
      const since = signals.get(signal) ?? Date.now();
      signals.set(signal, since);
      return since;
    },
    killAt: (podUid) => kills.get(podUid) ?? Number.POSITIVE_INFINITY,
    willBeKilled: (podUid, at) => void kills.set(podUid, at),
    async podlessWhy({ attemptId }, ask) {
      const known = whys.get(attemptId);
      if (known && Date.now() - known.at < refreshMs) return known.why;
      const why = await ask();
      whys.set(attemptId, { at: Date.now(), why });
      return why;
    },
    begin({ attemptId, generation }) {
      forgotten.delete(attemptId);
      const known = pods.get(attemptId);
      if (known && known.generation < generation) pods.delete(attemptId);
      if (generation > 1) begun.set(attemptId, { generation, at: Date.now() });
    },
    forget(attemptId) {
      pods.delete(attemptId);
      forgotten.set(attemptId, Date.now());
    },
    isForgotten: ({ attemptId }) => forgotten.has(attemptId),
    keepOnly(attemptIds) {
      for (const map of [seen, whys]) for (const attemptId of map.keys()) if (!attemptIds.has(attemptId)) map.delete(attemptId);
      for (const key of phases.keys()) if (!attemptIds.has(key.split(' ')[0] ?? '')) phases.delete(key);
      for (const [attemptId, at] of forgotten) if (Date.now() - at > keptForMs) forgotten.delete(attemptId);
      for (const [attemptId, { at }] of begun) if (Date.now() - at > keptForMs) begun.delete(attemptId);
      for (const [podUid, at] of kills) if (Date.now() - at > keptForMs) kills.delete(podUid);
    },
  };
}

function phaseOf(object: Job | Pod): string {
  if (!isPod(object)) return object.status?.conditions?.map((condition) => condition.type).join() ?? '';
  const states = object.status?.containerStatuses?.map(({ state }) => state?.waiting?.reason ?? (state?.running ? 'runs' : 'ended'));
  return `${object.status?.phase} ${states?.join() ?? ''}`;
}
