import { newId } from '@cairn/runtime';
import { expect } from 'vitest';
import type { Executor, LaunchSpec, Snapshot } from '../executor.ts';

/** An attempt of 8 slots with its own id. */
export function aSpec(change: Partial<LaunchSpec> = {}): LaunchSpec {
  return {
    attemptId: newId('attempt'),
    generation: 1,
    name: 'mini-1/384/1',
    slots: 8,
    env: { CAIRN_ATTEMPT_TOKEN: 'cat_secret' },
    ...change,
  };
}

export const limit = () => AbortSignal.timeout(60_000);
export const eventually = <T>(read: () => T | Promise<T>, timeout = 30_000) => expect.poll(read, { timeout, interval: 100 });

export async function observed(executor: Executor, { attemptId }: LaunchSpec): Promise<Snapshot | undefined> {
  return (await executor.observe(limit())).find((snapshot) => snapshot.attemptId === attemptId);
}

/** A shell that ends at SIGTERM like an agent: it prints a line and exits with a code. */
export const endsAtTerm = (code: number) => `trap 'echo asked to stop; exit ${code}' TERM; echo started; while true; do sleep 0.1; done`;
