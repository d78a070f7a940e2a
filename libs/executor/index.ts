export { type DockerPoolSettings, dockerPoolSettings } from './docker/container-spec.ts';
export { type DockerExecutorOptions, dockerExecutor } from './docker/docker-executor.ts';
export * from './executor.ts';
export { type KubernetesExecutorOptions, kubernetesExecutor } from './kubernetes/kubernetes-executor.ts';
export { type KubernetesPoolSettings, kubernetesPoolSettings } from './kubernetes/pool-settings.ts';
export { type Removal, removeAttempts } from './kubernetes/reaper.ts';
export { type ProcessExecutorOptions, processExecutor } from './process/process-executor.ts';
