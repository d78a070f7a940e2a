import type { QueryClient } from '@tanstack/react-query';
import { z } from 'zod';
import type { LiveMessage } from './live.ts';
import { keys, type Outdated, outdatedByEvent, outdatedByHint, outdatedOfTopic } from './query-keys.ts';

/** At most one refresh of an answer in this time, however often its subject changes. */
const intervalMs = 1_000;

/**
 * Marks cached answers as out of date as messages arrive, and so fetches those on the screen again. A hidden tab only marks them: they
 * are fetched when it is shown.
 */
export function createRefresh(queries: QueryClient): (message: LiveMessage) => void {
  const waiting = new Map<string, Outdated>();
  let timer: number | null = null;

  const flush = (): void => {
    for (const { queryKey, exact, unlessAt } of waiting.values()) {
      const isOld = ({ state }: { state: { data: unknown } }): boolean => unlessAt === undefined || positionOf(state.data) !== unlessAt;
      void queries.invalidateQueries({ queryKey, exact, predicate: isOld, refetchType: document.hidden ? 'none' : 'active' });
    }
    timer = waiting.size === 0 ? null : window.setTimeout(flush, intervalMs);
    waiting.clear();
  };

  return (message) => {
    for (const outdated of outdatedBy(message)) {
      const key = JSON.stringify(outdated.queryKey);
      // A hint says that something changed: a reset after it does not take that back.
      if (outdated.unlessAt === undefined || !waiting.has(key)) waiting.set(key, outdated);
    }
    // The first of several is fetched at once, the others together after the interval.
    if (waiting.size > 0 && timer === null) flush();
  };
}

const positioned = z.object({ position: z.string() });
const positionOf = (answer: unknown): string | null => positioned.safeParse(answer).data?.position ?? null;

function outdatedBy(message: LiveMessage): Outdated[] {
  switch (message.type) {
    case 'opened':
      // For `runs` and `fleet` the server sends a reset with every stream.
      return message.topics.filter((topic) => topic.startsWith('run:')).flatMap((topic) => outdatedOfTopic(topic));
    case 'session':
      return [{ queryKey: keys.me, exact: true }];
    case 'message':
      switch (message.message.type) {
        case 'hint':
          return outdatedByHint(message.message.hint);
        case 'event':
          return outdatedByEvent(message.message.event.runId);
        case 'reset':
          return outdatedOfTopic(message.message.topic, message.message.position);
      }
  }
}
