import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, existsSync, mkdirSync, openSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { createInternalClient } from '@cairn/client';
import { isCairnError, lastOf } from '@cairn/contract';
import { openQueues, type QueueEntry } from '@cairn/queue';
import {
  attemptToken,
  createLogger,
  datasetRootsEnvironment,
  isAlive,
  killAttemptProcesses,
  type Logger,
  localAgentEnvironment,
  type ProcessIdentity,
  probeVariables,
  processesByAttempt,
  readAgent,
  readConfiguration,
  readExit,
  runMain,
  signalProcess,
  sleep,
  startProbes,
  tailOf,
  useProxies,
} from '@cairn/runtime';
import { isStorageVariable } from '@cairn/storage';
import { z } from 'zod';
import { commonVariables } from '../agent/configuration.ts';
import { failure } from '../agent/failure.ts';

type TaskContext = {
  configuration: {
    CAIRN_INTERNAL_URL: readonly string[];
    CAIRN_STORAGE_URL: string;
    CAIRN_PYTHON: string;
    CAIRN_LOG_LEVEL: string;
    CAIRN_SERVER_KEY: string;
    CAIRN_DATASET_ROOTS?: string[] | undefined;
    CAIRN_DATASET_ROOTS_FILE?: string | undefined;
    CAIRN_DATASET_URLS?: string[] | undefined;
  };
  /** Of agents, in addition to the attempt's own. */
  env: Readonly<Record<string, string>>;
  /** The folder of all work folders. */
  root: string;
  log: Logger;
  /** Aborted when the worker shuts down: the agent is asked to stop, and waited for. */
  signal: AbortSignal;
};

const mainFile = join(import.meta.dirname, '../main.ts');
/** An agent moves bytes and waits. With this it uses 256 MB while finalizing on S3, and 396 MB without. */
const smallYoungGeneration = ['--max-semi-space-size=2'];
const pollMs = 200;
const goneLimitMs = 5000;
const maxOutputChars = 4000;

/**
 * Runs one attempt in its own agent and waits for its end. An entry may come twice: an agent that an earlier worker
 * started here is waited for; one that runs elsewhere makes ours end as superseded. An agent that died without a report is
 * reported as failed, so that nothing waits for it.
 */
export async function runTask({ attemptId, generation }: QueueEntry<'tasks'>, context: TaskContext): Promise<void> {
  const { root, log, signal } = context;
  const workDir = join(root, `${attemptId}-${generation}`);
  mkdirSync(workDir, { recursive: true });
  const task = { attemptId, generation, workDir };
  for (let isStarted = false; ; isStarted = true) {
    const agent = readAgent(workDir)?.process ?? processesByAttempt().get(attemptId)?.[0];
    if (agent !== undefined && isAlive(agent)) await endOfAgent(agent, signal);
    else if (isStarted || agent !== undefined || readExit(workDir) !== null) break;
    else if (signal.aborted) return;
    else await startAgent(task, context);
  }
  // Another delivery of the same entry saw the end first, and has cleaned up.
  if (!existsSync(workDir)) return;
  const code = readExit(workDir);
  log.info({ attemptId, code }, 'an agent ended');
  if (code === null) await reportDeath(task, context);
  await rm(workDir, { recursive: true, force: true });
}

type Task = { attemptId: string; generation: number; workDir: string };

/** Starts the agent in its own session, so that it outlives this worker. Resolves when it has ended. */
async function startAgent({ attemptId, generation, workDir }: Task, { configuration, env, signal }: TaskContext): Promise<void> {
  const output = openSync(join(workDir, 'stderr.log'), 'a');
  try {
    const child = spawn(process.execPath, [...smallYoungGeneration, mainFile, 'agent'], {
      cwd: workDir,
      env: {
        ...env,
        CAIRN_ATTEMPT_ID: attemptId,
        CAIRN_ATTEMPT_GENERATION: String(generation),
        CAIRN_ATTEMPT_TOKEN: attemptToken(configuration.CAIRN_SERVER_KEY, attemptId, generation),
        CAIRN_INTERNAL_URL: configuration.CAIRN_INTERNAL_URL.join(','),
        CAIRN_STORAGE_URL: configuration.CAIRN_STORAGE_URL,
        CAIRN_WORK_DIR: workDir,
        CAIRN_PYTHON: configuration.CAIRN_PYTHON,
        CAIRN_LOG_LEVEL: configuration.CAIRN_LOG_LEVEL,
        ...datasetRootsEnvironment(configuration),
      },
      detached: true,
      stdio: ['ignore', output, output],
    });
    const stop = () => child.kill('SIGTERM');
    signal.addEventListener('abort', stop, { once: true });
    await once(child, 'exit').finally(() => signal.removeEventListener('abort', stop));
  } finally {
    closeSync(output);
  }
}

/** Waits for the end of an agent that is not our child; asks it to stop when the signal is aborted. */
async function endOfAgent(agent: ProcessIdentity, signal: AbortSignal): Promise<void> {
  const stop = () => signalProcess(agent, 'SIGTERM');
  if (signal.aborted) stop();
  signal.addEventListener('abort', stop, { once: true });
  try {
    while (isAlive(agent)) await sleep(pollMs);
  } finally {
    signal.removeEventListener('abort', stop);
  }
}

/** Reports to the control plane, on the agent's behalf, that it is dead, after no process of the attempt runs any more. */
async function reportDeath({ attemptId, generation, workDir }: Task, { configuration, log, signal }: TaskContext): Promise<void> {
  await killAttemptProcesses([attemptId], { limitMs: goneLimitMs });
  // However much it wrote: only the end is read.
  const output = await tailOf(join(workDir, 'stderr.log'), maxOutputChars * 4).catch(() => '');
  const client = createInternalClient({
    urls: configuration.CAIRN_INTERNAL_URL,
    attemptId,
    generation,
    token: attemptToken(configuration.CAIRN_SERVER_KEY, attemptId, generation),
    signal,
  });
  const words = output.trim() === '' ? '' : `. Its last output:\n${lastOf(output, maxOutputChars)}`;
  try {
    await client.finish(failure('infrastructure', 'program_failed', `The agent's process ended without reporting why${words}`));
  } catch (error) {
    if (signal.aborted) return;
    if (!isCairnError(error)) throw error;
    // Over for the control plane too, or it does not accept this: its own check for silent attempts remains.
    log.warn({ attemptId, err: error }, 'the end of an agent was not accepted');
  }
}

/** The environment of `main.ts tasks`. */
const taskVariables = z.object({
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
