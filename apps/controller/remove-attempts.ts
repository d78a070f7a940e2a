// Run when the chart is uninstalled: removes the Jobs and Secrets of attempts in the namespaces of all pools, since no leader is left to do
// it. It reads CAIRN_POOLS and CAIRN_INSTANCE like the controller.
import { removeAttempts } from '@cairn/executor';
import { exitCodes, readConfiguration, runMain } from '@cairn/runtime';
import { KubeConfig } from '@kubernetes/client-node';
import type { z } from 'zod';
import { configurationSchema } from './configuration.ts';

const variables = configurationSchema.pick({ CAIRN_INSTANCE: true, CAIRN_POOLS: true });

if (import.meta.main) {
  await runMain({
    name: 'cairn removal of attempts',
    start: async ({ signal }) => ({ finished: removeAll(readConfiguration(variables, process.env), signal) }),
  });
}

async function removeAll({ CAIRN_INSTANCE, CAIRN_POOLS }: z.infer<typeof variables>, signal: AbortSignal): Promise<number> {
  const kubeConfig = new KubeConfig();
  kubeConfig.loadFromDefault();
  const namespaces = new Set(CAIRN_POOLS.flatMap((pool) => (pool.executor === 'kubernetes' ? [pool.settings.namespace] : [])));
  for (const namespace of namespaces) {
    const names = await removeAttempts({ instance: CAIRN_INSTANCE, namespace, kubeConfig, signal });
    console.log(`${namespace}: ${names.length === 0 ? 'no attempts' : names.join(', ')}`);
  }
  return exitCodes.success;
}
