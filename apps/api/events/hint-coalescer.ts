import type { Hint } from '@cairn/contract';

/**
 * Passes hints on, of one kind at most one an interval: the first at once, what comes within the interval as one more at its
 * end. A kind is a step's progress, metrics, logs or shards; the topics `runs` and `fleet` are one kind each, so that fifty
 * runs a second are one hint to fetch the list, which then names no run.
 */
export function createHintCoalescer(intervalMs: number, emit: (hint: Hint) => void) {
  const waiting = new Map<string, { later: Hint | null; timer: NodeJS.Timeout }>();

  function start(key: string): void {
    const timer = setTimeout(() => {
      const later = waiting.get(key)?.later ?? null;
      waiting.delete(key);
      if (later === null) return;
      start(key);
      emit(later);
    }, intervalMs);
    waiting.set(key, { later: null, timer });
  }

  return {
    push(hint: Hint): void {
      const key = [hint.topic, hint.stepId ?? '', hint.what].join(' ');
      const entry = waiting.get(key);
      if (entry === undefined) {
        start(key);
        emit(hint);
      } else entry.later = entry.later === null ? hint : merge(entry.later, hint);
    },
    close(): void {
      for (const { timer } of waiting.values()) clearTimeout(timer);
      waiting.clear();
    },
  };
}

function merge(a: Hint, b: Hint): Hint {
  if (a.runId === b.runId) return b;
  return { topic: b.topic, what: b.what };
}
