// CI runs this when apps/cli/testing/cluster, libs/executor/kubernetes, libs/executor/testing, apps/controller change, else one time in three; it takes about 60 s.
import { freePort } from '@cairn/runtime';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { type ApiProxy, startApiProxy } from './api-proxy.ts';
import { type ClusterWorld, eventually, kubeConfig, openWorld, shellImage, smallPods } from './cluster-service.ts';

vi.setConfig({ testTimeout: 180_000, hookTimeout: 120_000 });

let world: ClusterWorld;
let proxy: ApiProxy;
beforeAll(async () => {
  world = await openWorld();
  proxy = await startApiProxy(kubeConfig);
});
afterAll(async () => {
  await world.close();
  await proxy.close();
});

test('while the API server is away the api is ready, and the controller lives, reports what is missing, starts nothing and continues afterwards', async () => {
  const probePort = await freePort();
  const settings = { ...smallPods, image: shellImage, command: ['sleep', '600'] };
  const one = await world.open(settings, { kubeconfig: proxy.kubeconfig, probePort });
  const probe = async (path: string, base = `http://127.0.0.1:${probePort}`) => {
    const answer = await fetch(`${base}${path}`, { signal: AbortSignal.timeout(5_000) });
    return { status: answer.status, body: await answer.json() };
  };
  const controller = one.service.programs.find(({ name }) => name === 'controller');
  const pid = controller?.pid();
  const first = await one.submit();
  await eventually(async () => (await world.pods()).map(({ status }) => status?.phase)).toEqual(['Running']);
  await eventually(() => probe('/readyz')).toMatchObject({ status: 200 });

  const restore = await proxy.cut();
  await eventually(() => probe('/readyz')).toEqual({
    status: 503,
    body: { status: 'unavailable', faults: { pools: 'not watching pods' } },
  });
  const second = await one.submit({ set: { 'stages.384.seed': 7 } });
  await eventually(async () => (await one.step(second, '384')).waiting?.sentence).toMatch(
    /^no machine of pool pods can hold it now: the state of its machines is unknown/,
  );
  // The probes of the kubelet and the load balancer.
  expect(await probe('/healthz')).toMatchObject({ status: 200 });
  expect(await probe('/readyz', one.service.url)).toMatchObject({ status: 200 });
  expect(await probe('/readyz', one.service.internalUrl)).toMatchObject({ status: 200 });
  expect((await one.client.listAttempts(first, '384')).items).toMatchObject([{ ordinal: 1, failure: null }]);
  expect(controller?.pid()).toBe(pid);

  await restore();
  await eventually(() => probe('/readyz')).toMatchObject({ status: 200 });
  await eventually(async () => (await world.pods()).map(({ status }) => status?.phase)).toEqual(['Running', 'Running']);
  expect(controller?.pid()).toBe(pid);
});
