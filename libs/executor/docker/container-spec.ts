import type { ContainerCreateOptions } from 'dockerode';
import { z } from 'zod';
import { agentEnvironment, attemptLabels, nameAnnotation, objectName, type PoolIdentity } from '../attempt-containers.ts';
import { containerSettings, parseQuantity, path, quantity, refineContainer, sharedMemoryBytes } from '../container-settings.ts';
import type { LaunchSpec } from '../executor.ts';

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

const mount = z.strictObject({
  hostPath: path.describe("the folder or file on the engine's machine, which must exist"),
  mountPath: path.describe('where the container sees it'),
  readOnly: z.boolean().default(true).describe('whether the container may only read it'),
});

/** A pool whose attempts are containers of one Docker engine: the one in the controller's DOCKER_HOST. */
export const dockerPoolSettings = z
  .strictObject({
    ...containerSettings,
    envFile: path
      .optional()
      .describe(
        "a file of NAME=value lines on the controller's machine, such as credentials of the object storage; the agent gets it as a file, which `docker inspect` does not show",
      ),

    gpus: z
      .union([z.enum(['all', 'none']), z.number().int().min(1).max(64)])
      .default('all')
      .describe('GPUs of a container: all GPUs of the machine, a number of its own, or none'),
    gpuDevices: z
      .array(z.string().min(1))
      .min(1)
      .default(['0', '1', '2', '3', '4', '5', '6', '7'])
      .describe('where `gpus` is a number: the devices to give out, by index or UUID; each to one container at a time'),
    cpus: z.number().positive().optional().describe('maximum cores of a container; default: no limit'),
    memory: quantity
      .optional()
      .describe('maximum memory of the processes of a container, to which shared memory and /tmp are added; default: no limit'),
    tmpSize: quantity.default('4Gi').describe('size of /tmp, which is in memory'),
    mounts: z.array(mount).default([]).describe('folders of the machine: datasets, an image cache, object storage in a folder'),
    network: z
      .string()
      .min(1)
      .default('bridge')
      .describe('the network of the containers: `bridge`, `host` or one of your own. The machine is host.docker.internal except on `host`'),
    runtime: z.string().min(1).optional().describe("the container runtime; default: the engine's"),
  })
  .superRefine(refineContainer)
  .refine((pool) => typeof pool.gpus !== 'number' || pool.gpus <= pool.gpuDevices.length, {
    path: ['gpus'],
    message: 'a container cannot have more GPUs than gpuDevices lists',
  });
export type DockerPoolSettings = z.infer<typeof dockerPoolSettings>;
