import { agentExit, type FailureSignal, ownValue } from '@cairn/contract';
import { exitSignal } from '../attempt-containers.ts';
import { type Condition, type ContainerStatus, conditionOf, type Job, type Node, type Pod } from './cluster-objects.ts';
import { agentContainer, failureRules } from './pod-spec.ts';

/** The cluster's objects of one attempt. */
export type AttemptObjects = {
  /** Null when it was deleted and left its pod behind. */
  job: Job | null;
  pods: readonly Pod[];
  /** The node of the pod; null when there is none or nodes cannot be read. */
  node: Node | null;
  gpuResource: string;
};

export type Diagnosis = {
  phase: 'pending' | 'running' | 'exited';
  exitCode: number | null;
  message: string;
  finding: UndatedFinding | null;
  /** When the agent started, while it runs: in milliseconds since the epoch. */
  startedAt?: number | null;
};

/** A finding without the time it was first seen, where Kubernetes records none. */
export type UndatedFinding = { signal: FailureSignal; since: number | null; message: string };

/** The state of an attempt in Kubernetes, as one phase and at most one finding. Pure. */
export function diagnose(objects: AttemptObjects): Diagnosis {
  const pod = objects.pods.find((candidate) => !isTerminal(candidate)) ?? objects.pods.at(-1);
  if (pod === undefined) return withoutPod(objects.job);
  if (isTerminal(pod)) return ended(pod, objects);
  const status = agentStatus(pod);
  const silent = nodeSilent(objects.node);
  if (status?.state?.running) {
    const unhealthy = unhealthyGpus(pod, objects);
    const finding = silent ?? (unhealthy === null ? null : { signal: 'gpu_unhealthy' as const, since: null, message: unhealthy });
    const startedAt = status.state.running.startedAt ?? null;
    return { phase: 'running', exitCode: null, message: pod.metadata.deletionTimestamp ? 'ending' : 'running', finding, startedAt };
  }
  // The agent has ended and the kubelet has not reported the end of the whole pod yet.
  if (status?.state?.terminated) return { phase: 'running', exitCode: null, message: 'ending', finding: silent };
  const finding = silent ?? waiting(pod);
  return { phase: 'pending', exitCode: null, message: finding ? sentence(finding.message, finding.signal) : 'waiting to start', finding };
}

export function isTerminal(pod: Pod): boolean {
  return pod.status?.phase === 'Succeeded' || pod.status?.phase === 'Failed';
}

/** A Job whose pod was never created, or no longer exists. */
function withoutPod(job: Job | null): Diagnosis {
  if (job === null) return exited('pod_gone', 'neither its Job nor its pod exists');
  const failed = trueCondition(job, 'Failed');
  if (failed) return { ...exited(jobSignal(failed), failed.message ?? ''), exitCode: ruleExitCode(failed) };
  if (trueCondition(job, 'Complete')) return { ...exited('ended_without_result', 'its pod was removed'), exitCode: agentExit.ok };
  if (job.metadata.deletionTimestamp) return { phase: 'pending', exitCode: null, message: 'being removed', finding: null };
  const since = job.metadata.creationTimestamp ?? null;
  if (job.spec.suspend) {
    const suspended = trueCondition(job, 'Suspended');
    return pending('queued', suspended?.lastTransitionTime ?? since, suspended?.message ?? '');
  }
  return pending('no_pod', since, '');
}

/** Why a Job failed, from the condition that outlives its pod. */
function jobSignal(failed: Condition): FailureSignal {
  if (failed.reason === 'DeadlineExceeded') return 'deadline_exceeded';
  const code = ruleExitCode(failed);
  if (failed.reason === 'PodFailurePolicy' && code === null) return 'drained';
  return code === null ? 'pod_gone' : exitSignal(code, '');
}

/** The Job controller gives the rule and the exit code in the message of the condition, and nowhere else. */
function ruleExitCode(failed: Condition): number | null {
  const match = /exit code (\d+) matching FailJob rule at index (\d+)/.exec(failed.message ?? '');
  return failed.reason === 'PodFailurePolicy' && match && Number(match[2]) === failureRules.exitCode ? Number(match[1]) : null;
}

/** The pod has ended: no process of the attempt runs. */
function ended(pod: Pod, objects: AttemptObjects): Diagnosis {
  const state = agentStatus(pod)?.state?.terminated;
  const exitCode = state?.exitCode ?? null;
  const signal = endSignal(pod, objects);
  const words = [pod.status?.message, trueCondition(pod, 'DisruptionTarget')?.message].find((text) => text);
  const unhealthy = signal === 'failed_beside_sick_gpu' ? unhealthyGpus(pod, objects) : null;
  const message = unhealthy ?? words ?? (exitCode === null ? (pod.status?.reason ?? '') : `exit code ${exitCode}`);
  return { ...exited(signal, message), exitCode, finding: { signal, since: state?.finishedAt ?? null, message } };
}

function endSignal(pod: Pod, objects: AttemptObjects): FailureSignal {
  const state = agentStatus(pod)?.state?.terminated;
  const killed = [...(pod.status?.containerStatuses ?? []), ...(pod.status?.initContainerStatuses ?? [])];
  // The exit code may be 0 then (kubernetes/kubernetes#131530).
  if (killed.some((status) => status.state?.terminated?.reason === 'OOMKilled')) return 'out_of_memory';
  if (objects.job && trueCondition(objects.job, 'Failed')?.reason === 'DeadlineExceeded') return 'deadline_exceeded';
  const disruption = trueCondition(pod, 'DisruptionTarget')?.reason;
  const named = reasonSignals[pod.status?.reason ?? ''] ?? disruptionSignals[disruption ?? ''];
  if (named) return named;
  if (!state) return pod.status?.reason && !pod.metadata.deletionTimestamp ? 'admission_refused' : 'pod_gone';
  if (state.reason === 'StartError' || state.reason === 'ContainerCannotRun') return 'container_start';
  const signal = exitSignal(state.exitCode, state.message ?? '');
  const mayBeGpu = signal === 'agent_failed' || signal === 'killed';
  return mayBeGpu && unhealthyGpus(pod, objects) !== null ? 'failed_beside_sick_gpu' : signal;
}

/** Reasons that the kubelet gives in the pod's status. */
const reasonSignals: Readonly<Record<string, FailureSignal>> = {
  Evicted: 'node_pressure',
  Preempting: 'preempted',
  DeadlineExceeded: 'deadline_exceeded',
  NodeLost: 'node_lost',
  NodeShutdown: 'node_shutdown',
  Shutdown: 'node_shutdown',
  Terminated: 'node_shutdown',
  UnexpectedAdmissionError: 'admission_refused',
  NodeAffinity: 'admission_refused',
  TopologyAffinityError: 'admission_refused',
};

/** Reasons of the condition DisruptionTarget. */
const disruptionSignals: Readonly<Record<string, FailureSignal>> = {
  PreemptionByScheduler: 'preempted',
  EvictionByEvictionAPI: 'drained',
  DeletionByTaintManager: 'node_lost',
  DeletionByPodGC: 'node_gone',
  TerminationByKubelet: 'node_pressure',
};

/** Why a pod that has not ended is not running anything yet. */
function waiting(pod: Pod): UndatedFinding | null {
  const scheduled = conditionOf(pod, 'PodScheduled');
  if (scheduled?.status === 'False') {
    const signal = scheduled.reason === 'SchedulingGated' ? 'queued' : 'unschedulable';
    return { signal, since: scheduled.lastTransitionTime ?? null, message: scheduled.message ?? '' };
  }
  if (!pod.spec.nodeName) return null;
  const statuses = [...(pod.status?.initContainerStatuses ?? []), ...(pod.status?.containerStatuses ?? [])];
  for (const { state } of statuses) {
    const reason = state?.waiting?.reason ?? '';
    const message = state?.waiting?.message ?? '';
    const signal = reason === 'ErrImagePull' || reason === 'ImagePullBackOff' ? pullSignal(message) : ownValue(waitingSignals, reason);
    if (signal) return { signal, since: null, message: `${reason}${message ? `: ${message}` : ''}` };
  }
  return { signal: 'container_creating', since: scheduled?.lastTransitionTime ?? null, message: `on node ${pod.spec.nodeName}` };
}

const waitingSignals: Readonly<Record<string, FailureSignal>> = {
  InvalidImageName: 'image_name_invalid',
  ErrImageNeverPull: 'image_pull',
  CreateContainerConfigError: 'container_configuration',
  CreateContainerError: 'container_creation',
  RunContainerError: 'container_creation',
};

/** A registry that limits requests or cannot be reached is not a user's mistake; Kubernetes reports it only in words. */
function pullSignal(message: string): FailureSignal {
  return /\b429\b|too ?many ?requests|\b50[0-4]\b|timeout|connection re(fused|set)|unexpected EOF/i.test(message)
    ? 'image_registry_busy'
    : 'image_pull';
}

function nodeSilent(node: Node | null): UndatedFinding | null {
  const ready = node && conditionOf(node, 'Ready');
  if (!node || !ready || ready.status === 'True') return null;
  return { signal: 'node_silent', since: ready.lastTransitionTime ?? null, message: `node ${node.metadata.name} is not ready` };
}

/** What is wrong with the pod's GPUs: the pod's own status (Kubernetes 1.36), or fewer allocatable on the node than it has. */
function unhealthyGpus(pod: Pod, { node, gpuResource }: AttemptObjects): string | null {
  const resources = agentStatus(pod)?.allocatedResourcesStatus?.flatMap((status) => status.resources ?? []) ?? [];
  const unhealthy = resources.filter((resource) => resource.health === 'Unhealthy').length;
  if (unhealthy > 0) return `${unhealthy} of its GPUs on node ${pod.spec.nodeName} are unhealthy`;
  const has = Number(node?.status?.capacity?.[gpuResource] ?? 0);
  const allocatable = Number(node?.status?.allocatable?.[gpuResource] ?? 0);
  const uses = pod.spec.containers.some((container) => Number(container.resources?.limits?.[gpuResource] ?? 0) > 0);
  return uses && allocatable < has ? `${has - allocatable} of ${has} GPUs of node ${node?.metadata.name} are unhealthy` : null;
}

function agentStatus(pod: Pod): ContainerStatus | undefined {
  return pod.status?.containerStatuses?.find((status) => status.name === agentContainer);
}

function trueCondition(object: Job | Pod, type: string): Condition | undefined {
  const found = conditionOf(object, type);
  return found?.status === 'True' ? found : undefined;
}

function pending(signal: FailureSignal, since: number | null, message: string): Diagnosis {
  return { phase: 'pending', exitCode: null, message: sentence(message, signal), finding: { signal, since, message } };
}

function exited(signal: FailureSignal, message: string): Diagnosis {
  return { phase: 'exited', exitCode: null, message: sentence(message, signal), finding: { signal, since: null, message } };
}

const sentence = (message: string, signal: FailureSignal): string => (message === '' ? signal.replaceAll('_', ' ') : message);
