import { createHash } from 'node:crypto';
import { agentExit, type FailureSignal } from '@cairn/contract';
import type { LaunchSpec } from './executor.ts';

/** The owner of objects: two installations, or two pools of one, may share a namespace. */
export type PoolIdentity = {
  /** Name of the installation, unique in a cluster: the namespace and the name of the Helm release. */
  instance: string;
  pool: string;
};

export const attemptLabel = 'cairn.dev/attempt';
export const generationLabel = 'cairn.dev/generation';
const poolLabel = 'cairn.dev/pool';
/** Run, step and ordinal as people know them; not always a valid label. */
export const nameAnnotation = 'cairn.dev/name';

/** Labels of every object of an attempt, by which it is found, adopted and distinguished from others. */
export function attemptLabels(spec: Pick<LaunchSpec, 'attemptId' | 'generation'>, owner: PoolIdentity): Record<string, string> {
  return { ...poolLabels(owner), [attemptLabel]: spec.attemptId, [generationLabel]: String(spec.generation) };
}

/** Selects everything of a pool, or of one attempt in it. */
export function labelSelector(owner: PoolIdentity, attemptId?: string): string {
  return selectorOf(attemptId === undefined ? poolLabels(owner) : { ...poolLabels(owner), [attemptLabel]: attemptId });
}

/** A selector of the objects that have all these labels. */
export const selectorOf = (labels: Record<string, string>): string =>
  Object.entries(labels)
    .map(([key, value]) => `${key}=${value}`)
    .join(',');

/** True for an object that belongs to an attempt of this pool. */
export function isOf(owner: PoolIdentity, { metadata }: { metadata: { labels?: Record<string, string> | null | undefined } }): boolean {
  return Object.entries(poolLabels(owner)).every(([key, value]) => metadata.labels?.[key] === value);
}

/** Labels of every object of a pool. */
export const poolLabels = ({ instance, pool }: PoolIdentity): Record<string, string> => ({
  ...instanceLabels(instance),
  [poolLabel]: pool,
});

/** Labels of every object of the installation's attempts, whatever their pool. */
export const instanceLabels = (instance: string): Record<string, string> => ({
  'app.kubernetes.io/name': 'cairn',
  'app.kubernetes.io/component': 'attempt',
  'app.kubernetes.io/managed-by': 'cairn',
  'app.kubernetes.io/instance': instance,
});

/**
 * The name of the Job and of the Secret: the same attempt and generation always has the same one, so that a second
 * start finds the first. At most 63 characters of a DNS label: the readable name, and a hash that makes it unique.
 */
export function objectName(spec: Pick<LaunchSpec, 'attemptId' | 'generation' | 'name'>): string {
  const hash = createHash('sha256').update(spec.attemptId).digest('hex').slice(0, 10);
  const tail = `${hash}-g${spec.generation}`;
  const words = spec.name
    .toLowerCase()
    .replaceAll(/[^a-z0-9]+/g, '-')
    .slice(0, 62 - tail.length)
    .replaceAll(/^-+|-+$/g, '');
  return words === '' ? `a-${tail}` : `${words}-${tail}`;
}

/** Deletes an object when the Job of this name is deleted. */
export function ownerReference(name: string, jobUid: string) {
  return { apiVersion: 'batch/v1', kind: 'Job', name, uid: jobUid };
}

/** The secret part of an attempt's environment, which is kept out of descriptions that others can read. */
export const tokenVariable = 'CAIRN_ATTEMPT_TOKEN';
/** The attempt's own folder in a container. */
export const workDir = '/var/lib/cairn/work';

type AgentSettings = {
  /** Of the pool: overrides what the controller gives to every agent. */
  env: Readonly<Record<string, string>>;
  /** GPUs of the container. */
  gpus: number;
  graceSeconds: number;
  deadlineSeconds?: number | undefined;
};

/** The environment of an agent in a container: the attempt's and the pool's, without the token. It contains nothing of the controller's own. */
export function agentEnvironment(spec: LaunchSpec, { env, gpus, graceSeconds, deadlineSeconds }: AgentSettings): Record<string, string> {
  const values: Record<string, string> = {
    HOME: '/tmp',
    CAIRN_GPUS: String(gpus),
    ...spec.env,
    ...env,
    CAIRN_ATTEMPT_ID: spec.attemptId,
    CAIRN_ATTEMPT_GENERATION: String(spec.generation),
    CAIRN_WORK_DIR: workDir,
    CAIRN_STOP_GRACE_SECONDS: String(graceSeconds),
    ...(deadlineSeconds !== undefined && { CAIRN_DEADLINE_SECONDS: String(deadlineSeconds) }),
  };
  delete values[tokenVariable];
  return values;
}

/** 128 + 7: killed by SIGBUS, as is a process that writes to a full /dev/shm. */
const busErrorCode = 135;

/** What the exit code of an agent's container means, together with its last output where known. */
export function exitSignal(code: number, message: string): FailureSignal {
  switch (code) {
    case agentExit.ok:
      return 'ended_without_result';
    case agentExit.configuration:
      return 'agent_configuration';
    case agentExit.superseded:
      return 'agent_superseded';
    case agentExit.preempted:
      return 'agent_preempted';
    case 137:
    case 143:
      return 'killed';
    default:
      return code === busErrorCode || message.includes('Bus error') ? 'shared_memory_full' : 'agent_failed';
  }
}
