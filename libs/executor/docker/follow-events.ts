import { backoff, type Logger, pause } from '@cairn/runtime';
import { attemptLabel } from '../attempt-labels.ts';
import { containerEvent } from './container-objects.ts';
import type { EngineApi } from './engine-api.ts';

export type FollowEventsOptions = {
  api: EngineApi;
  labels: readonly string[];
  onEvent(attemptId: string): void;
  /** The stream is open: earlier events must be fetched separately. */
  onOpen(): Promise<void>;
  log: Logger;
};

/** A connection may die silently: the stream is reopened after this long. */
const streamMs = 300_000;
const retry = { baseMs: 250, maxMs: 10_000 };

/** Follows the events of the pool's containers until it is closed: reopens the stream whenever it ends. */
export function followEvents({ api, labels, onEvent, onOpen, log }: FollowEventsOptions) {
  const closing = new AbortController();
  const { signal } = closing;
  let isOpen = false;

  async function follow(limit: AbortSignal): Promise<void> {
    const stream = await api.events(labels, AbortSignal.any([signal, limit]));
    isOpen = true;
    await onOpen();
    let rest = '';
    // Not by `readline`, which ignores the errors of its input.
    for await (const chunk of stream) {
      const lines = `${rest}${chunk}`.split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) {
        const attemptId = containerEvent.parse(JSON.parse(line)).Actor.Attributes[attemptLabel];
        if (attemptId !== undefined) onEvent(attemptId);
      }
    }
  }

  async function run(): Promise<void> {
    let failures = 0;
    while (!signal.aborted) {
      const limit = AbortSignal.timeout(streamMs);
      try {
        await follow(limit);
      } catch (error) {
        if (signal.aborted) return;
        if (limit.aborted) {
          failures = 0;
          continue;
        }
        // One line at the start of an outage, and then increasingly rarely.
        if (Number.isInteger(Math.log2(failures + 1))) log.warn({ err: error, failures: failures + 1 }, 'containers cannot be watched');
      }
      failures = isOpen ? 1 : failures + 1;
      isOpen = false;
      await pause(backoff({ attempt: failures, ...retry }), signal);
    }
  }

  const running = run();
  return {
    isOpen: () => isOpen,
    async close() {
      closing.abort(new Error('the executor is closed'));
      await running;
      isOpen = false;
    },
  };
}
