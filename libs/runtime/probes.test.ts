import { expect, onTestFinished, test } from 'vitest';
import { createMetrics } from './metrics.ts';
import { type ProbesOptions, startProbes } from './probes.ts';

async function open(checks: ProbesOptions['checks'], limitMs?: number) {
  const probes = await startProbes({ host: '127.0.0.1', port: 0, checks, ...(limitMs === undefined ? {} : { limitMs }) });
  onTestFinished(() => probes.close());
  return async (path: string) => {
    const answer = await fetch(`http://127.0.0.1:${probes.port}${path}`);
    return { status: answer.status, body: await answer.json() };
  };
}

test('a program is ready when every part works, and names the part that does not', async () => {
  let isWatching = true;
  const get = await open({
    database: async () => undefined,
    cluster: () => {
      if (!isWatching) throw new Error('pool gpus is not watched');
    },
  });
  expect(await get('/readyz')).toEqual({ status: 200, body: { status: 'ok' } });
  isWatching = false;
  expect(await get('/readyz')).toEqual({ status: 503, body: { status: 'unavailable', faults: { cluster: 'pool gpus is not watched' } } });
  expect((await get('/healthz')).status).toBe(200);
  expect((await get('/')).status).toBe(404);
});

test("a program's metrics are served next to its probes", async () => {
  const metrics = createMetrics({ processMetrics: false });
  metrics.gauge({ name: 'answer', help: 'To everything.' }).set(42);
  const probes = await startProbes({ host: '127.0.0.1', port: 0, checks: {}, metrics });
  onTestFinished(() => probes.close());
  const answer = await fetch(`http://127.0.0.1:${probes.port}/metrics`);
  expect(answer.headers.get('content-type')).toContain('text/plain');
  expect(await answer.text()).toContain('cairn_answer 42\n');
});

test('a part that does not answer counts as unavailable', async () => {
  const get = await open({ database: () => new Promise(() => undefined) }, 50);
  expect((await get('/readyz')).body).toEqual({ status: 'unavailable', faults: { database: 'no answer within 0.05 s' } });
});
