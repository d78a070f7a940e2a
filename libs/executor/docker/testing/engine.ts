import { randomBytes } from 'node:crypto';
import { createLogger } from '@cairn/runtime';
import Docker from 'dockerode';
import type { z } from 'zod';
import type { Executor } from '../../executor.ts';
import { type DockerPoolSettings, dockerPoolSettings } from '../container-spec.ts';
import { dockerExecutor } from '../docker-executor.ts';

/** An image with a shell that the engine already has. */
const image = process.env.CAIRN_TEST_DOCKER_IMAGE ?? 'debian:bookworm-slim';

export const docker = new Docker();

type PoolChange = Partial<z.input<typeof dockerPoolSettings>> & {
  /** The script of the agent's shell. */
  script?: string;
};

export type TestPool = {
  owner: { instance: string; pool: string };
  /** An executor of the pool, whose containers are small and need no GPU. */
  open(change?: PoolChange): Executor;
  close(): Promise<void>;
};

/** A pool for one test; closing removes all its containers. */
export function testPool(): TestPool {
  const owner = { instance: `test-${randomBytes(4).toString('hex')}`, pool: 'test' };
  const opened: Executor[] = [];
  const log = createLogger({ name: 'executor', level: 'error' });
  return {
    owner,
    open(change) {
      const executor = dockerExecutor({ ...owner, settings: poolOf(change), docker, log });
      opened.push(executor);
      return executor;
    },
    async close() {
      for (const executor of opened) await executor.close();
      const filters = { label: [`app.kubernetes.io/instance=${owner.instance}`] };
      for (const { Id } of await docker.listContainers({ all: true, filters }))
        await docker.getContainer(Id).remove({ force: true, v: true });
    },
  };
}

export function poolOf({ script = 'sleep 600', ...change }: PoolChange = {}): DockerPoolSettings {
  return dockerPoolSettings.parse({
    image,
    allowTags: true,
    command: ['sh', '-c', script],
    gpus: 'none',
    memory: '64Mi',
    sharedMemory: '1Mi',
    tmpSize: '1Mi',
    graceSeconds: 20,
    ...change,
  });
}
