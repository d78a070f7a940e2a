import { randomUUID } from 'node:crypto';
import { isCairnError } from '@cairn/contract';
import { sleep } from '@cairn/runtime';
import { waitFor } from '../wait-for.ts';
import type { ControlPlane } from './control-plane.ts';
import { quantile, show } from './quantiles.ts';

export const submission = { recipe: 'mini', dataset: 'bench', noReuse: true } as const;

/** Conditions for a sustained rate: answers within this, and almost nothing refused. */
const usualP99LimitMs = 250;
/** Where other work slows down even an idle service, up to this multiple of the idle latency is allowed. */
const overAtRest = 2;
const refusedShare = 0.01;
const firstRate = 8;
const growth = 1.4;
const highestRate = 500;
/** How far beyond the sustained rate the service is driven, to see how it behaves then. */
const beyond = 4;
/** Other work on the machine occasionally spoils a step: a rate counts as too high when it fails twice. */
const tries = 2;

export type RateStep = {
  rate: number;
  /** Milliseconds to the answers of submissions that created a run, and to the refusals. */
  answers: number[];
  refusals: number[];
  /** Of endpoints with a capacity of their own, polled ten times a second in the meantime. */
  health: number[];
  submittedAt: Map<string, number>;
  /** Processor seconds by program, from the first submission until everything that it caused has started. */
  cpuSeconds: Record<string, number>;
  /** Runs that were accepted but had not started when the time limit was over. */
  late: number;
};

/**
 * Open loop: a submission every 1/rate s, whether or not the previous one was answered, and none is repeated. `settled` resolves when
 * everything that the runs caused is done, so that one step leaves no work to the next.
 */
export async function submitSteadily(
  plane: ControlPlane,
  rate: number,
  seconds: number,
  settled: (runs: ReadonlyMap<string, number>) => Promise<number>,
): Promise<RateStep> {
  const [answers, refusals, health]: number[][] = [[], [], []];
  const submittedAt = new Map<string, number>();
  const before = await plane.cpuSeconds();
  const probing = new AbortController();
  const probes = probe(plane, health ?? [], probing.signal);
  const begin = performance.now();
  await Promise.all(
    Array.from({ length: Math.round(rate * seconds) }, async (_, index) => {
      await sleep(Math.max(0, begin + (index * 1000) / rate - performance.now()));
      const sent = performance.now();
      try {
        const run = await plane.once.submitRun({ ...submission }, { idempotencyKey: randomUUID() });
        answers?.push(performance.now() - sent);
        submittedAt.set(run.id, sent);
      } catch (error) {
        if (!isCairnError(error, 'rate_limited')) throw error;
        refusals?.push(performance.now() - sent);
      }
    }),
  );
  probing.abort();
  await probes;
  const late = await settled(submittedAt);
  const after = await plane.cpuSeconds();
  const cpuSeconds = Object.fromEntries(Object.entries(after).map(([name, value]) => [name, value - (before[name] ?? 0)]));
  return { rate, answers: answers ?? [], refusals: refusals ?? [], health: health ?? [], submittedAt, cpuSeconds, late };
}

async function probe(plane: ControlPlane, took: number[], signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    const sent = performance.now();
    await plane.checkHealth();
    took.push(performance.now() - sent);
    await sleep(100, signal).catch(() => undefined);
  }
}

const keepsUp = (step: RateStep, p99LimitMs: number): boolean =>
  quantile(step.answers, 0.99) <= p99LimitMs && step.refusals.length <= refusedShare * (step.answers.length + step.refusals.length);

/**
 * Raises the rate until the service refuses or is late, then drives it far beyond. Prints a line per step.
 *
 * @param atRest milliseconds that submissions took one at a time, in the same run
 */
export async function stepUp(
  plane: ControlPlane,
  seconds: number,
  atRest: readonly number[],
  settled: (runs: ReadonlyMap<string, number>) => Promise<number>,
): Promise<{ kept: RateStep | null; driven: RateStep }> {
  const p99LimitMs = Math.max(usualP99LimitMs, overAtRest * quantile(atRest, 0.99));
  let kept: RateStep | null = null;
  const rows: Record<string, string | number>[] = [];
  const add = (step: RateStep): RateStep => {
    rows.push(rowOf(step));
    return step;
  };
  for (let rate = firstRate, failed = 0; rate <= highestRate && failed < tries; ) {
    const step = add(await submitSteadily(plane, rate, seconds, settled));
    if (!keepsUp(step, p99LimitMs)) {
      failed += 1;
      continue;
    }
    kept = step;
    failed = 0;
    rate = Math.ceil(rate * growth);
  }
  const driven = add(await submitSteadily(plane, (kept?.rate ?? firstRate) * beyond, seconds, settled));
  console.table(rows);
  console.log(`sustained: ${kept?.rate ?? 'none'} per second, with answers within ${p99LimitMs.toFixed(0)} ms (p99)`);
  return { kept, driven };
}

function rowOf({ rate, answers, refusals, health, late }: RateStep): Record<string, string | number> {
  return {
    'per second': rate,
    taken: answers.length,
    'p50 / p99 to the answer': `${show(answers, 0.5)} / ${show(answers, 0.99)}`,
    refused: refusals.length,
    'p99 to the refusal': show(refusals, 0.99),
    'p99 of /healthz and /readyz in the meantime': show(health, 0.99),
    'started late': late,
  };
}

/** Processor time of one submission by program, and how many submissions a second one core can pay for. */
export function costOf({ cpuSeconds, answers }: RateStep): { table: Record<string, string>; perCore: number } {
  const total = Object.values(cpuSeconds).reduce((sum, seconds) => sum + seconds, 0);
  const each = (seconds: number) => `${((seconds * 1000) / answers.length).toFixed(1)} ms`;
  return {
    table: { ...Object.fromEntries(Object.entries(cpuSeconds).map(([name, value]) => [name, each(value)])), together: each(total) },
    perCore: answers.length / total,
  };
}

/** Waits until each of the runs has started, or the limit is over. Returns how many had not. */
export async function untilStarted(
  runs: ReadonlyMap<string, number>,
  startedAt: ReadonlyMap<string, number>,
  limitMs: number,
): Promise<number> {
  const missing = () => [...runs.keys()].filter((id) => !startedAt.has(id)).length;
  await waitFor(() => missing() === 0, { timeoutMs: limitMs, intervalMs: 20, message: 'every run to start' }).catch(() => undefined);
  return missing();
}
