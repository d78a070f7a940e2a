import { randomUUID } from 'node:crypto';
import { cpus, loadavg } from 'node:os';
import { parseArgs } from 'node:util';
import { openQueues } from '@cairn/queue';
import { createLogger, sleep } from '@cairn/runtime';
import { waitFor } from '../wait-for.ts';
import { costOf, stepUp, submission, untilStarted } from './control-load.ts';
import { type Backend, type ControlPlane, startControlPlane } from './control-plane.ts';
import { quantile, show, spread } from './quantiles.ts';

/**
 * The control plane under load, on both queue backends: the rate of submissions that it sustains, what one of them costs each program,
 * and how it behaves beyond that rate; the time from a submission to the call that starts its agent (next to a bare BullMQ hop in the
 * same run), and the recovery time of a controller killed over a full backlog.
 */
const { values: options } = parseArgs({
  options: {
    backend: { type: 'string', multiple: true, default: ['postgres', 'redis'] },
    /** Of each rate. */
    seconds: { type: 'string', default: '5' },
    backlog: { type: 'string', default: '5000' },
    part: { type: 'string', multiple: true, default: ['load', 'backlog'] },
  },
});
const seconds = Number(options.seconds);
const backlog = Number(options.backlog);

/** BullMQ alone, one entry at a time on its own prefix: add to handler, in milliseconds. */
async function bareHop(plane: ControlPlane, times: number): Promise<number[]> {
  const queues = openQueues({ url: plane.queueUrl, log: createLogger({ name: 'bench', level: 'error' }), prefix: 'bare', schema: 'bare' });
  await queues.waitUntilReady();
  const hops: number[] = [];
  let arrived = Promise.withResolvers<void>();
  queues.consume('launch', { concurrency: 1, handler: async () => arrived.resolve() });
  for (let index = 0; index < times; index += 1) {
    arrived = Promise.withResolvers<void>();
    const sent = performance.now();
    await queues.add('launch', { attemptId: `att_${String(index).padStart(26, '0')}`, generation: 1 });
    await arrived.promise;
    hops.push(performance.now() - sent);
    await sleep(5);
  }
  await queues.close();
  return hops.slice(Math.floor(times / 10));
}

async function measureLoad(backend: Backend): Promise<void> {
  const plane = await startControlPlane(backend, 4096);
  try {
    const startedAt = new Map<string, number>();
    plane.queues.consume('tasks', {
      concurrency: 64,
      handler: async ({ attemptId, generation }) => {
        const at = performance.now();
        const { runId } = await plane.prisma.attempt.findUniqueOrThrow({ where: { id: attemptId }, select: { runId: true } });
        startedAt.set(runId, at);
        // As a run that ends at once: otherwise thousands of attempts that nothing works on would accumulate.
        await plane.endAttempt(attemptId, generation);
      },
    });
    // Warms the programs up: compiled code and open connections, as in a service that has been running for a while.
    await submitOneByOne(plane, startedAt, 20);
    const hops = await bareHop(plane, 200);
    // How long a person waits who submits to an idle service: before the load, which leaves a backlog behind.
    const alone = await submitOneByOne(plane, startedAt, 100);
    console.log(`\n${backend}: one at a time`);
    console.table({ 'submission to start call': spread(alone), 'bare BullMQ, add to handler': spread(hops) });
    console.log(`start call over bare BullMQ, p95: ${(quantile(alone, 0.95) / quantile(hops, 0.95)).toFixed(1)} x`);
    console.log(`\n${backend}: ${seconds} s at each rate; each submission at once starts an agent that ends its run`);
    const { kept, driven } = await stepUp(plane, seconds, alone, (runs) => untilStarted(runs, startedAt, 60_000));
    const starts = [...(kept?.submittedAt ?? [])].map(([runId, sent]) => (startedAt.get(runId) ?? Number.NaN) - sent);
    console.log(`submission to start call then, p50 / p99: ${show(starts, 0.5)} / ${show(starts, 0.99)}`);
    printCost(kept ?? driven);
  } finally {
    await plane.close();
  }
}

function printCost(step: Parameters<typeof costOf>[0]): void {
  const { table, perCore } = costOf(step);
  console.log(`processor time of one submission and everything it caused, at ${step.rate} per second`);
  console.table({ 'one submission': table });
  console.log(`one core is enough for ${perCore.toFixed(1)} per second`);
}

/** Each when the previous one has started. Milliseconds from the submission to the start call. */
async function submitOneByOne(plane: ControlPlane, startedAt: Map<string, number>, times: number): Promise<number[]> {
  const starts: number[] = [];
  for (let index = 0; index < times; index += 1) {
    const sent = performance.now();
    const run = await plane.client.submitRun({ ...submission }, { idempotencyKey: randomUUID() });
    await waitFor(() => startedAt.has(run.id), { timeoutMs: 20_000, intervalMs: 1, message: 'it started' });
    starts.push((startedAt.get(run.id) ?? Number.NaN) - sent);
  }
  return starts;
}

/** With all slots taken: submissions queue up behind them, as on a busy cluster. */
async function measureBacklog(backend: Backend): Promise<void> {
  const plane = await startControlPlane(backend, 4);
  try {
    const taken: { attemptId: string; generation: number }[] = [];
    plane.queues.consume('tasks', { concurrency: 64, handler: async (entry) => void taken.push(entry) });
    const atRest: number[] = [];
    for (let warm = 0; warm < 100; warm += 1) {
      const sent = performance.now();
      await plane.client.submitRun({ ...submission }, { idempotencyKey: randomUUID() });
      if (warm >= 20) atRest.push(performance.now() - sent);
    }
    console.log(`\n${backend}: ${seconds} s at each rate; the runs wait behind taken slots`);
    const { kept, driven } = await stepUp(plane, seconds, atRest, async () => 0);
    printCost(kept ?? driven);
    let submitted = await plane.prisma.run.count();
    await Promise.all(
      Array.from({ length: 4 }, async () => {
        for (; submitted < backlog; ) {
          submitted += 1;
          await plane.client.submitRun({ ...submission }, { idempotencyKey: randomUUID() });
        }
      }),
    );
    await waitFor(() => taken.length >= 4, { timeoutMs: 60_000, message: 'the slots are taken' });
    await plane.killController();
    // The freed slots show when the next leader admits steps over the whole backlog.
    for (const entry of taken.splice(0)) await plane.endAttempt(entry.attemptId, entry.generation);
    await plane.queues.empty('tasks');
    const killed = performance.now();
    plane.startController();
    await waitFor(() => taken.length >= 4, { timeoutMs: 120_000, intervalMs: 10, message: 'the next steps started' });
    console.log(
      `\n${backend}: controller killed and restarted over ${backlog} waiting steps, its queue emptied: recovered in ${((performance.now() - killed) / 1000).toFixed(1)} s`,
    );
  } finally {
    await plane.close();
  }
}

console.log(`${cpus().length} cores, ${cpus()[0]?.model}; Node ${process.version}; load average ${loadavg()[0]?.toFixed(1)}`);
for (const name of options.backend) {
  const backend: Backend = name === 'redis' ? 'redis' : 'postgres';
  if (options.part.includes('load')) await measureLoad(backend);
  if (options.part.includes('backlog')) await measureBacklog(backend);
}
process.exit(0);
