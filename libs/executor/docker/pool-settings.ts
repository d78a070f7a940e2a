import { z } from 'zod';
import { containerSettings, path, quantity, refineContainer } from '../container-settings.ts';

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
