import { randomBytes } from 'node:crypto';
import { waitFor } from '@cairn/testing';
import { quantile, spread } from '@cairn/testing/bench/quantiles';
import type { ApiCall } from '../cluster/api-proxy.ts';
import { batch, type ClusterWorld, core, shellImage, smallPods } from '../cluster/cluster-service.ts';

/** Prints one line and ends at SIGTERM, so that one measurement leaves nothing for the next. */
const command = ['sh', '-c', "echo started; trap 'exit 0' TERM; while true; do sleep 0.1; done"];

type Options = {
  times: number;
  kubeconfig: string;
  /** The controller's calls to the API server. */
  calls: readonly ApiCall[];
};

/**
 * From a submission to the container's first line, by the container runtime's timestamp of the line, and for comparison the same for a
 * bare Job of the same image: the one call of `kubectl create job`, without starting kubectl. One after another, in turn.
 */
export async function measureFirstLine(world: ClusterWorld, { times, kubeconfig, calls }: Options): Promise<void> {
  const one = await world.open({ ...smallPods, image: shellImage, command }, { kubeconfig });
  const ours: number[] = [];
  const toJob: number[] = [];
  const bare: number[] = [];
  // The first makes the dataset's lists, which the others reuse, and warms the programs up.
  for (let index = 0; index <= times; index += 1) {
    const sent = Date.now();
    const id = await one.submit({ set: { 'stages.384.seed': 1000 + index } });
    const { name } = await one.run(id);
    const line = await firstLine(world, async () => podNamed(world, `${name}/384/1`));
    const made = calls.find(({ verb, path, at }) => verb === 'POST' && path.endsWith('/jobs') && at >= sent);
    await one.client.cancelRun(id, {});
    await untilEmpty(world);
    const { sent: bareSent, line: bareLine } = await bareJob(world);
    if (index === 0) continue;
    ours.push(line - sent);
    toJob.push((made?.at ?? Number.NaN) - sent);
    bare.push(bareLine - bareSent);
  }
  await one.close();
  console.log(`\nFrom the submission to the container's first line, ${times} times in turn`);
  console.table({
    'cairn submit': spread(ours),
    'of which until the Job is requested': spread(toJob),
    'a bare Job': spread(bare),
  });
  console.log(`over a bare Job, by the medians: ${((quantile(ours, 0.5) - quantile(bare, 0.5)) / 1000).toFixed(2)} s`);
}

async function bareJob(world: ClusterWorld): Promise<{ sent: number; line: number }> {
  const name = `bare-${randomBytes(4).toString('hex')}`;
  const { namespace } = world;
  const containers = [{ name, image: shellImage, command, imagePullPolicy: 'IfNotPresent' }];
  const sent = Date.now();
  await batch.createNamespacedJob({
    namespace,
    body: { metadata: { name }, spec: { template: { spec: { restartPolicy: 'Never', containers } } } },
  });
  const line = await firstLine(world, async () => (await world.pods()).find(({ metadata }) => metadata?.labels?.['job-name'] === name));
  await batch.deleteNamespacedJob({ namespace, name, body: { propagationPolicy: 'Foreground' } });
  await untilEmpty(world);
  return { sent, line };
}

const podNamed = async (world: ClusterWorld, name: string) =>
  (await world.pods()).find(({ metadata }) => metadata?.annotations?.['cairn.dev/name'] === name);

/** When the container runtime saw the first line of a pod, in milliseconds since the epoch. */
async function firstLine({ namespace }: ClusterWorld, pod: () => ReturnType<typeof podNamed>): Promise<number> {
  const text = await waitFor(
    async () => {
      const name = (await pod())?.metadata?.name;
      return name !== undefined && core.readNamespacedPodLog({ namespace, name, timestamps: true });
    },
    { timeoutMs: 120_000, intervalMs: 50, message: 'the first line of a container' },
  );
  return new Date(text.slice(0, text.indexOf(' '))).getTime();
}

const untilEmpty = (world: ClusterWorld) =>
  waitFor(async () => (await world.pods()).length + (await world.jobs()).length === 0, {
    timeoutMs: 60_000,
    intervalMs: 50,
    message: 'Jobs and pods are gone',
  });
