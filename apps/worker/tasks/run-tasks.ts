import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { openQueues } from '@cairn/queue';
import { createLogger, localAgentEnvironment, probeVariables, readConfiguration, runMain, startProbes, useProxies } from '@cairn/runtime';
import { isStorageVariable } from '@cairn/storage';
import { z } from 'zod';
import { commonVariables } from '../agent/configuration.ts';
import { runTask } from './run-task.ts';

/** The environment of `main.ts tasks`. */
export const taskVariables = z.object({
  ...commonVariables,
  CAIRN_QUEUE_URL: z
    .string()
    .min(1)
    .describe('the address of the queues, redis:// or postgres://')
    .meta({ example: 'redis://127.0.0.1:6379', secret: true }),
  CAIRN_SERVER_KEY: z.string().min(32).describe('the key from which the tokens of attempts are derived').meta({ secret: true }),
  CAIRN_TASK_SLOTS: z.coerce.number().int().min(1).max(256).default(2).describe('attempts at a time'),
  ...probeVariables,
  CAIRN_STATE_DIR: z.string().min(1).describe('work folders of the attempts').meta({ example: '/var/lib/cairn' }),
});

/** How long running attempts have to end when this program is asked to stop. */
const closeLimitMs = 20_000;

/**
 * Takes attempts at the steps that run on the control plane's machines from the queue `tasks`, and runs each in its own process:
 * a step that fails, leaks or hangs does not affect another.
 */
export function runTasks(env: Readonly<Record<string, string | undefined>>): Promise<never> {
  return runMain({
    name: 'worker',
    closeLimitMs: closeLimitMs + 5000,
    async start({ closer, signal }) {
      const configuration = readConfiguration(taskVariables, env);
      useProxies(env);
      const log = createLogger({ name: 'worker', level: configuration.CAIRN_LOG_LEVEL });
      const root = join(configuration.CAIRN_STATE_DIR, 'tasks');
      mkdirSync(root, { recursive: true });
      const agentEnv = localAgentEnvironment(env, isStorageVariable);
      const queues = openQueues({ url: configuration.CAIRN_QUEUE_URL, log });
      closer.add('queues', () => queues.close(closeLimitMs));
      await queues.waitUntilReady({ signal });
      const consumer = queues.consume('tasks', {
        concurrency: configuration.CAIRN_TASK_SLOTS,
        // Not the entry's own signal: an agent whose entry was given to another worker still runs the attempt.
        handler: (entry) => runTask(entry, { configuration, env: agentEnv, root, log, signal }),
      });
      await consumer.waitUntilReady();
      const { CAIRN_PROBE_HOST: host, CAIRN_PROBE_PORT: port } = configuration;
      if (port !== undefined) {
        const probes = await startProbes({ host, port, checks: { queue: () => queues.ping() } });
        closer.add('probes', () => probes.close());
      }
      log.info({ slots: configuration.CAIRN_TASK_SLOTS }, 'accepting tasks');
      return undefined;
    },
  });
}
