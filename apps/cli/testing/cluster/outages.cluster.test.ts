// CI runs this when apps/cli/testing/cluster, libs/executor/kubernetes, libs/executor/testing, apps/controller change, else one time in three; it takes about 120 s.
import { killServer } from '@cairn/testing';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { type ClusterWorld, clientAsAgent, eventually, openWorld, shellImage, smallPods } from './cluster-service.ts';

// Runs only where CAIRN_TEST_CLUSTER_HOME says where the servers of the cluster are, because it kills the kubelet.
vi.setConfig({ testTimeout: 420_000, hookTimeout: 120_000 });

let world: ClusterWorld;
beforeAll(async () => {
  world = await openWorld();
});
afterAll(() => world.close());

test('an attempt on a lost node is revoked before the next one is created, and its agent is refused and ended when the node comes back', async () => {
  // Nothing runs in the pods: this test acts as their agents, and falls silent like those of a lost node.
  const one = await world.open({ ...smallPods, image: shellImage, command: ['sleep', '600'] });
  const id = await one.submit();
  const { name } = await one.run(id);
  const attempts = async () => (await one.client.listAttempts(id, '384')).items;
  const running = async () =>
    (await world.pods()).flatMap(({ metadata, status }) =>
      status?.phase === 'Running' && !metadata?.deletionTimestamp ? [metadata?.annotations?.['cairn.dev/name']] : [],
    );
  await eventually(running).toEqual([`${name}/384/1`]);
  const agent = await clientAsAgent(one, (await attempts())[0]?.id ?? '');
  const restart = killServer('kubelet');
  try {
    const reported = {
      state: 'running',
      finding: { code: 'node_lost', message: expect.stringMatching(/^its node does not answer: .*; a new attempt/) },
    };
    await eventually(attempts, 120_000).toMatchObject([reported]);
    // The following comes two minutes after the cluster found the node silent.
    const lost = { state: 'lost', failure: { cause: 'infrastructure', code: 'node_lost' } };
    await eventually(attempts, 240_000).toMatchObject([lost]);
    await expect(agent.report({ seq: 1, at: new Date().toISOString(), items: [] })).rejects.toMatchObject({ code: 'superseded' });
    await expect(agent.finish({ outcome: 'preempted', message: 'saved' })).rejects.toMatchObject({ code: 'superseded' });
    await eventually(async () => (await one.step(id, '384')).waiting?.sentence).toMatch(/node \S+: not ready/);
    expect(await attempts()).toMatchObject([lost]);
  } finally {
    restart();
  }
  await eventually(running, 120_000).toEqual([`${name}/384/2`]);
  await eventually(async () => (await world.pods()).length).toBe(1);
  await one.client.cancelRun(id);
  await eventually(world.jobs).toEqual([]);
});
