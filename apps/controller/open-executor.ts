import { dockerExecutor, type Executor, kubernetesExecutor, processExecutor } from '@cairn/executor';
import type { Logger } from '@cairn/runtime';
import { KubeConfig } from '@kubernetes/client-node';
import Docker from 'dockerode';
import type { PoolConfiguration } from './pools.ts';

export type ExecutorPlace = {
  /** Name of the installation: by it an executor tells its objects from those of others. */
  instance: string;
  stateDir: string;
  /** How a local process becomes an agent. */
  command: readonly string[];
  /** Environment of local agents. */
  baseEnv: Readonly<Record<string, string>>;
  log: Logger;
};

/** Opens what runs the attempts of a pool. */
export function openExecutor(pool: PoolConfiguration, { instance, stateDir, command, baseEnv, log }: ExecutorPlace): Executor {
  switch (pool.executor) {
    case 'process':
      return processExecutor({ stateDir, command, baseEnv });
    case 'docker':
      // DOCKER_HOST and DOCKER_CERT_PATH, or the engine of this machine.
      return dockerExecutor({ instance, pool: pool.name, settings: pool.settings, docker: new Docker(), log });
    case 'kubernetes': {
      const kubeConfig = new KubeConfig();
      // KUBECONFIG, ~/.kube/config, or the account of the pod that this program runs in.
      kubeConfig.loadFromDefault();
      return kubernetesExecutor({ instance, pool: pool.name, settings: pool.settings, kubeConfig, log });
    }
  }
}
