import { expect, onTestFinished, test } from 'vitest';
import { createMetrics, watchLongestBlock } from './metrics.ts';

test('counters are in the answer to Prometheus', async () => {
  const metrics = createMetrics({ processMetrics: false });
  metrics.counter({ name: 'runs_total', help: 'Runs by end.', labels: ['state'] }).inc({ state: 'succeeded' }, 2);
  const { body, contentType } = await metrics.render();
  expect(contentType).toContain('text/plain');
  expect(body).toContain('# HELP cairn_runs_total Runs by end.');
  expect(body).toContain('cairn_runs_total{state="succeeded"} 2');
});

test('a gauge is set when it is read', async () => {
  const metrics = createMetrics({ processMetrics: false });
  let waiting = 1;
  metrics.gauge({ name: 'steps_waiting', help: 'Steps that wait.', collect: (gauge) => gauge.set(waiting) });
  waiting = 7;
  expect((await metrics.render()).body).toContain('cairn_steps_waiting 7');
});

test('two apps of one process share no metric', async () => {
  const [first, second] = [createMetrics({ processMetrics: false }), createMetrics({ processMetrics: false })];
  first.counter({ name: 'requests_total', help: 'Requests.' }).inc();
  expect((await second.render()).body).not.toContain('requests_total');
});

test('the process reports its own metrics', async () => {
  expect((await createMetrics().render()).body).toContain('cairn_process_cpu_seconds_total');
});

test.each(['run', 'attempt_id', 'stepId', 'path'])('the label %s is refused because its values are unbounded', (label) => {
  const metrics = createMetrics({ processMetrics: false });
  expect(() => metrics.counter({ name: 'x_total', help: 'x', labels: [label] })).toThrow(`label ${label}`);
});

/** Lets timers and the histogram's samples run. */
const turn = () => new Promise((resolve) => setTimeout(resolve, 30));

function compute(ms: number): void {
  const cpu = process.threadCpuUsage();
  while ((process.threadCpuUsage(cpu).user + process.threadCpuUsage(cpu).system) / 1000 < ms);
}

function sleepBlocked(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
}

test('the longest block is reported until a whole window has passed without it', async () => {
  const watch = watchLongestBlock();
  onTestFinished(() => watch.close());
  const forgetful = watchLongestBlock({ windowMs: 300 });
  onTestFinished(() => forgetful.close());
  await turn();
  compute(150);
  await turn();
  compute(20);
  await turn();
  // However long these turns take on a busy machine, they are within a window.
  expect(watch.blockedMs()).toBeGreaterThan(140);
  expect(watch.busyMs()).toBeGreaterThan(140);
  await expect.poll(() => forgetful.busyMs(), { timeout: 45_000, interval: 50 }).toBeLessThan(140);
  expect(watch.busyMs()).toBeGreaterThan(140);
});

test('a loop that waits for a processor or a disk is blocked and not busy', async () => {
  const watch = watchLongestBlock();
  onTestFinished(() => watch.close());
  await turn();
  sleepBlocked(200);
  await turn();
  expect(watch.blockedMs()).toBeGreaterThan(180);
  expect(watch.busyMs()).toBeLessThan(100);
});
