import type { LaunchSpec } from './executor.ts';

/** The secret part of an attempt's environment, which is kept out of descriptions that others can read. */
export const tokenVariable = 'CAIRN_ATTEMPT_TOKEN';
/** The attempt's own folder in a container. */
export const workDir = '/var/lib/cairn/work';

export type AgentSettings = {
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
