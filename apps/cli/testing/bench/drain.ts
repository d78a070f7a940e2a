import type { AttemptView } from '@cairn/contract';
import { waitFor, withClient } from '@cairn/testing';
import { PatchStrategy, setHeaderOptions } from '@kubernetes/client-node';
import { type ClusterWorld, core, gpuResource, type OpenService } from '../cluster/cluster-service.ts';

const step = '384';

/**
 * A node that is drained in the middle of a stage: cordoned, its pod evicted, and uncordoned as soon as the attempt is over, to replace
 * another node that would take the next one. How much of the training was lost, and how long it stood still.
 */
export async function measureDrain(world: ClusterWorld, { image, kubeconfig }: { image: string; kubeconfig: string }): Promise<void> {
  const one = await world.open(
    {
      image,
      allowTags: true,
      gpusPerPod: 8,
      gpuResource,
      cpu: '100m',
      memory: '2Gi',
      graceSeconds: 60,
      nodeMounts: [{ name: 'dataset', hostPath: world.dataset, mountPath: world.dataset }],
      env: { CAIRN_GPUS: '0' },
    },
    { kubeconfig },
  );
  // It rarely saves its own checkpoints: everything after the last one, at SIGTERM, is lost.
  const set = { 'stages.384.epochs': 200, 'stages.384.checkpointEverySteps': 10_000, 'stages.384.logEverySteps': 1 };
  const id = await one.submit({ set });
  await waitFor(async () => (await points(one, 1)).length > 30, {
    timeoutMs: 240_000,
    intervalMs: 500,
    message: 'the first attempt trains',
  });
  const pod = (await world.pods()).find(({ metadata }) => metadata?.annotations?.['cairn.dev/name']?.endsWith(`/${step}/1`));
  const node = pod?.spec?.nodeName ?? '';
  await cordon(node, true);
  const drainedAt = Date.now();
  const attempt = async (ordinal: number): Promise<AttemptView | undefined> =>
    (await one.client.listAttempts(id, step)).items.find((candidate) => candidate.ordinal === ordinal);
  let endedAt: number;
  try {
    const name = pod?.metadata?.name ?? '';
    await core.createNamespacedPodEviction({ namespace: world.namespace, name, body: { metadata: { name } } });
    await waitFor(async () => (await attempt(1))?.endedAt, { timeoutMs: 90_000, intervalMs: 50, message: 'the drained attempt ends' });
    endedAt = Date.now();
  } finally {
    await cordon(node, false);
  }
  await waitFor(async () => (await points(one, 2)).length > 3, { timeoutMs: 240_000, intervalMs: 500, message: 'the next attempt trains' });
  const [first, second] = [await attempt(1), await attempt(2)];
  const [before, after] = [await points(one, 1), await points(one, 2)];
  const lastStep = before.at(-1);
  const kept = before.findLast((point) => point.step <= (second?.resumedFrom?.step ?? 0));
  const began = before[0];
  const goesOn = after[0];
  if (!first || !lastStep || !began || !goesOn || !kept) throw new Error('an attempt has no points');
  const secondsOf = (ms: number) => `${(ms / 1000).toFixed(1)} s`;
  console.log(`\nA node drained after ${lastStep.step} steps of a stage`);
  console.table({
    'steps lost': lastStep.step - (second?.resumedFrom?.step ?? 0),
    'training lost': secondsOf(lastStep.at - kept.at),
    'from the drain to the end of the attempt, its last checkpoint saved': secondsOf(endedAt - drainedAt),
    'from the drain to the next step of training': secondsOf(goesOn.at - drainedAt),
    'for comparison: from the creation of the first attempt to its first step': secondsOf(began.at - new Date(first.createdAt).getTime()),
    'the drained attempt': `${first.state}, ${first.failure?.message.split('\n')[0] ?? ''}`,
  });
  await one.client.cancelRun(id, {});
  await waitFor(async () => (await world.pods()).length === 0, { timeoutMs: 90_000, intervalMs: 200, message: 'the pod is gone' });
  await one.close();
}

/** The points of the loss of one attempt, in order; `at` in milliseconds since the epoch. */
async function points(one: OpenService, ordinal: number): Promise<{ step: number; at: number }[]> {
  const { rows } = await withClient(one.service.postgres.url, (database) =>
    database.query<{ steps: number[]; times: number[] }>(
      `select m.steps, m.times from metric_chunk m join attempt a on a.id = m.attempt_id join step s on s.id = a.step_id
       where m.name = 'loss' and a.ordinal = $1 and s.name = $2 order by m.chunk`,
      [ordinal, step],
    ),
  );
  return rows.flatMap(({ steps, times }) => steps.map((at, index) => ({ step: at, at: (times[index] ?? Number.NaN) * 1000 })));
}

async function cordon(name: string, unschedulable: boolean): Promise<void> {
  await core.patchNode({ name, body: { spec: { unschedulable } } }, setHeaderOptions('Content-Type', PatchStrategy.MergePatch));
}
