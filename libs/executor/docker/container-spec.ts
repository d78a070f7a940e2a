import type { ContainerCreateOptions } from 'dockerode';
import { agentEnvironment } from '../agent-environment.ts';
import { attemptLabels, nameAnnotation, objectName, type PoolIdentity } from '../attempt-labels.ts';
import type { LaunchSpec } from '../executor.ts';
import { parseQuantity } from '../quantity.ts';
import { sharedMemoryBytes } from '../shared-memory.ts';
import { deviceRequests, gpuLabel } from './gpu-devices.ts';
import type { DockerPoolSettings } from './pool-settings.ts';

/** The container's own volume: the work folder and the file of secrets. */
export const stateDir = '/var/lib/cairn';
export const secretsFile = `${stateDir}/secrets.env`;
/** Two files of this size hold what an agent prints: it sends its own log. */
const logSize = '16m';

/** The same attempt and generation always gets the same name, so that starting it twice meets what is there. */
export const containerName = (spec: Pick<LaunchSpec, 'attemptId' | 'generation' | 'name'>): string => `cairn-${objectName(spec)}`;

/**
 * One attempt: one container that is never started again. Nothing of it is a secret: the token comes into its volume as a file. Pure.
 *
 * @param devices what `chooseDevices` answered
 */
export function containerOptions(
  spec: LaunchSpec,
  owner: PoolIdentity,
  settings: DockerPoolSettings,
  devices: string,
): ContainerCreateOptions & { name: string } {
  const { command, runAsUser, network } = settings;
  const name = containerName(spec);
  const labels = attemptLabels(spec, owner);
  const shared = sharedMemoryBytes(spec, settings);
  const tmp = parseQuantity(settings.tmpSize);
  const memory = settings.memory === undefined ? 0 : parseQuantity(settings.memory) + shared + tmp;
  return {
    name,
    Hostname: name.slice(0, 63),
    Image: settings.image,
    ...(command && { Entrypoint: command }),
    User: `${runAsUser}:${runAsUser}`,
    Env: Object.entries(environment(spec, settings)).map(([key, value]) => `${key}=${value}`),
    Labels: { ...labels, [nameAnnotation]: spec.name, [gpuLabel]: devices },
    StopTimeout: settings.graceSeconds,
    HostConfig: {
      ReadonlyRootfs: true,
      CapDrop: ['ALL'],
      SecurityOpt: ['no-new-privileges'],
      // With a command of the pool's the image's own first process, which takes in orphans, is passed by.
      Init: command !== undefined,
      RestartPolicy: { Name: 'no' },
      NetworkMode: network,
      ...(network !== 'host' && { ExtraHosts: ['host.docker.internal:host-gateway'] }),
      Tmpfs: { '/tmp': `rw,exec,nosuid,nodev,mode=1777,size=${tmp}` },
      ShmSize: shared,
      Mounts: [
        {
          Type: 'volume',
          Target: stateDir,
          Source: '',
          VolumeOptions: { NoCopy: true, Labels: labels, DriverConfig: { Name: 'local', Options: {} } },
        },
        ...settings.mounts.map(({ hostPath, mountPath, readOnly }) => ({
          Type: 'bind' as const,
          Source: hostPath,
          Target: mountPath,
          ReadOnly: readOnly,
        })),
      ],
      ...(memory > 0 && { Memory: memory, MemorySwap: memory }),
      ...(settings.cpus !== undefined && { NanoCpus: settings.cpus * 1e9 }),
      ...(settings.runtime && { Runtime: settings.runtime }),
      DeviceRequests: deviceRequests(devices),
      LogConfig: { Type: 'json-file', Config: { 'max-size': logSize, 'max-file': '2' } },
    },
  };
}

function environment(spec: LaunchSpec, settings: DockerPoolSettings): Record<string, string> {
  const { gpus } = settings;
  // With all GPUs of the machine, the attempt holds all slots of its pool.
  const count = gpus === 'all' ? spec.slots : gpus === 'none' ? 0 : gpus;
  return { ...agentEnvironment(spec, { ...settings, gpus: count }), CAIRN_ENV_FILE: secretsFile };
}
