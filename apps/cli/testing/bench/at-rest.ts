import { inParallel, sleep } from '@cairn/runtime';
import { usageOf, waitFor } from '@cairn/testing';
import type { ApiCall } from '../cluster/api-proxy.ts';
import { type ClusterWorld, gpuResource, type OpenService, shellImage, smallPods } from '../cluster/cluster-service.ts';

type Options = {
  /** Runs that wait. */
  runs: number;
  /** How long to measure. */
  seconds: number;
  kubeconfig: string;
  calls: readonly ApiCall[];
};

type Rest = { 'processor, % of a core': string; 'memory, MiB': number; 'API calls per second': string; 'of them watches': string };

/** The cost of an idle controller, without a run and while many wait for a full cluster. */
export async function measureRest(world: ClusterWorld, { runs, seconds, kubeconfig, calls }: Options): Promise<void> {
  const one = await world.open(
    { ...smallPods, image: shellImage, command: ['sleep', '36000'], gpusPerPod: 8, gpuResource },
    { kubeconfig },
  );
  // Its pod takes all GPUs.
  const first = await one.submit({ set: { 'stages.384.seed': 1 } });
  await waitFor(async () => (await world.pods()).some(({ status }) => status?.phase === 'Running'), { timeoutMs: 120_000 });
  await sleep(10_000);
  const alone = await rest(one, calls, seconds);
  const seeds = Array.from({ length: runs }, (_, index) => index + 2);
  const submitted = performance.now();
  await inParallel(seeds.values(), 4, async (seed) => void (await one.submit({ set: { 'stages.384.seed': seed } })));
  const last = await one.submit({ set: { 'stages.384.seed': runs + 2 } });
  await waitFor(
    async () => (await one.step(last, '384')).waiting?.code === 'behind' || (await one.step(last, '384')).waiting?.code === 'capacity',
    {
      timeoutMs: 300_000,
      intervalMs: 500,
      message: 'the last run waits for room',
    },
  );
  console.log(
    `\n${runs} runs were submitted and wait after ${((performance.now() - submitted) / 1000).toFixed(0)} s; each says, as the last: ${(await one.step(last, '384')).waiting?.sentence}`,
  );
  await sleep(15_000);
  const waiting = await rest(one, calls, seconds);
  console.log(`The controller at rest, measured for ${seconds} s`);
  console.table({ 'a full cluster, none waits': alone, [`a full cluster, ${runs} runs wait`]: waiting });
  await one.client.cancelRun(first, {});
  await one.close();
}

async function rest(one: OpenService, calls: readonly ApiCall[], seconds: number): Promise<Rest> {
  const pid = one.service.programs.find(({ name }) => name === 'controller')?.pid() ?? 0;
  const [before, from, began] = [await usageOf(pid), calls.length, performance.now()];
  await sleep(seconds * 1000);
  const after = await usageOf(pid);
  const took = (performance.now() - began) / 1000;
  const made = calls.slice(from);
  const aSecond = (count: number) => (count / took).toFixed(2);
  return {
    'processor, % of a core': ((100 * (after.cpuSeconds - before.cpuSeconds)) / took).toFixed(1),
    'memory, MiB': Math.round(after.residentMiB),
    'API calls per second': aSecond(made.length),
    'of them watches': aSecond(made.filter(({ verb }) => verb === 'WATCH').length),
  };
}
