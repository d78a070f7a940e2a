import type { ContainerCreateOptions } from 'dockerode';
import { agentEnvironment } from '../agent-environment.ts';
import { attemptLabels, nameAnnotation, objectName, type PoolIdentity } from '../attempt-labels.ts';
import { sharedMemoryBytes } from '../container-settings.ts';
import type { LaunchSpec } from '../executor.ts';
import { parseQuantity } from '../quantity.ts';
import type { DockerPoolSettings } from './pool-settings.ts';

/** The container's own volume: the work folder and the file of secrets. */
export const stateDir = '/var/lib/cairn';
export const secretsFile = `${stateDir}/secrets.env`;
/** An agent's output is kept in two files of this size: it uploads its own log. */
const logSize = '16m';

/** The same attempt and generation always has the same name, so that a second start finds the first. */
export const containerName = (spec: Pick<LaunchSpec, 'attemptId' | 'generation' | 'name'>): string => `cairn-${objectName(spec)}`;

/**
 * One attempt: one container that is never restarted. It contains no secret: the token is put into its volume as a file. Pure.
 *
 * @param devices the result of `chooseDevices`
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
      // A command of the pool replaces the image's own first process, which reaps orphans.
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

/** The devices that a container holds, as in its label. */
export const gpuLabel = 'cairn.dev/gpus';
const everything = 'all';

type Labels = Readonly<Record<string, string>>;
type GpuSettings = Pick<DockerPoolSettings, 'gpus' | 'gpuDevices'>;

/**
 * The devices for a new container, as its label: `0,1`, `all`, or empty for none. The engine would give two containers of one GPU
 * each the same one, so devices are chosen by name. Null when too few are free. Pure.
 *
 * @param live labels of all containers of the engine that run or will run
 */
export function chooseDevices({ gpus, gpuDevices }: GpuSettings, live: readonly Labels[]): string | null {
  if (gpus === 'none') return '';
  const free = freeDevices(gpuDevices, live);
  if (gpus === everything) return free.length === gpuDevices.length ? everything : null;
  return free.length < gpus ? null : free.slice(0, gpus).join(',');
}

export function freeDevices(devices: readonly string[], live: readonly Labels[]): string[] {
  const held = new Set(live.flatMap((labels) => (labels[gpuLabel] ?? '').split(',')));
  return held.has(everything) ? [] : devices.filter((device) => !held.has(device));
}

/** The part of a container's configuration that assigns its devices. */
function deviceRequests(devices: string) {
  if (devices === '') return [];
  const which = devices === everything ? { Count: -1 } : { DeviceIDs: devices.split(',') };
  return [{ ...which, Capabilities: [['gpu']] }];
}
