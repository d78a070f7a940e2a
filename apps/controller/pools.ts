import { safeName } from '@cairn/contract';
import { defaultLimits } from '@cairn/engine';
import {
  dockerExecutor,
  dockerPoolSettings,
  type Executor,
  kubernetesExecutor,
  kubernetesPoolSettings,
  processExecutor,
} from '@cairn/executor';
import type { Logger } from '@cairn/runtime';
import { KubeConfig } from '@kubernetes/client-node';
import Docker from 'dockerode';
import { z } from 'zod';

const slots = z.number().int().min(1).max(4096);
/** Of one slot, in the operator's currency. */
const gpuHourPrice = z.number().min(0).max(1_000_000).optional();
const every = { name: safeName, slots, gpuHourPrice };

const processPool = z.strictObject({ ...every, executor: z.literal('process') });

const kubernetesPool = z
  .strictObject({ ...every, executor: z.literal('kubernetes'), settings: kubernetesPoolSettings })
  .superRefine(({ slots: held, settings: { gpusPerPod, graceSeconds } }, context) =>
    refine({ held, gpus: gpusPerPod, graceSeconds, what: 'pod' }, context),
  );

const dockerPool = z
  .strictObject({ ...every, executor: z.literal('docker'), settings: dockerPoolSettings })
  .superRefine(({ slots: held, settings: { gpus, graceSeconds } }, context) =>
    refine({ held, gpus: typeof gpus === 'number' ? gpus : 0, graceSeconds, what: 'container' }, context),
  );

type Held = { held: number; gpus: number; graceSeconds: number; what: string };

function refine({ held, gpus, graceSeconds, what }: Held, context: z.RefinementCtx): void {
  const fault = (path: string[], message: string) => context.addIssue({ code: 'custom', path, message });
  if (held < gpus) fault(['slots'], `slots are the GPUs of all ${what}s together: ${held} do not hold one ${what} of ${gpus}`);
  const { graceSeconds: promised } = defaultLimits;
  if (graceSeconds < promised) {
    fault(['settings', 'graceSeconds'], `an attempt is promised ${promised} s to save its work, so a ${what} needs at least that long`);
  }
}

/** One schema for each executor; `openExecutor` has a case for each. */
const poolSchemas = [processPool, dockerPool, kubernetesPool] as const;
const executors = poolSchemas.map((schema) => schema.shape.executor.value);
const poolSchema = z.discriminatedUnion('executor', poolSchemas, { error: `expected one of ${executors.join(', ')}` });
export type PoolConfiguration = z.infer<typeof poolSchema>;

/** Pools as JSON in one variable; the controller itself adds `tasks`. Every error names its pool and setting. */
export const poolsVariable = z
  .string()
  .transform((text, context) => {
    try {
      return JSON.parse(text) as unknown;
    } catch (error) {
      context.addIssue({ code: 'custom', message: `invalid JSON: ${error instanceof Error ? error.message : String(error)}` });
      return z.NEVER;
    }
  })
  .pipe(z.array(z.unknown(), 'expected a list of pools').min(1, 'expected at least one pool'))
  .transform((list, context) =>
    list.flatMap((given, index): PoolConfiguration[] => {
      const parsed = poolSchema.safeParse(given);
      if (parsed.success) return [parsed.data];
      for (const issue of parsed.error.issues) {
        const where = [poolName(given, index), ...issue.path.map(String)].join('.');
        context.addIssue({ code: 'custom', message: `${where}: ${issue.message}` });
      }
      return [];
    }),
  )
  .refine((list) => new Set(list.map((pool) => pool.name)).size === list.length, 'two pools have the same name')
  .refine((list) => !list.some((pool) => pool.name === 'tasks'), '`tasks` is reserved for the pool of the control plane');

function poolName(given: unknown, index: number): string {
  const name = z.object({ name: safeName }).safeParse(given).data?.name;
  return name === undefined ? `pool ${index + 1}` : `pool ${name}`;
}

/** Slots that an attempt holds regardless of its step, since a container owns all its GPUs. Null: as many as the step asks for. */
export function attemptSlotsOf(pool: PoolConfiguration): number | null {
  switch (pool.executor) {
    case 'process':
      return null;
    case 'docker': {
      const { gpus } = pool.settings;
      return gpus === 'all' ? pool.slots : gpus === 'none' ? null : gpus;
    }
    case 'kubernetes':
      return pool.settings.gpusPerPod > 0 ? pool.settings.gpusPerPod : null;
  }
}

type ExecutorPlace = {
  /** Name of the installation, by which an executor recognizes its own objects. */
  instance: string;
  stateDir: string;
  /** The command that starts an agent as a local process. */
  command: readonly string[];
  /** Environment variables of local agents. */
  baseEnv: Readonly<Record<string, string>>;
  log: Logger;
};

/** Opens the executor of a pool. */
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
