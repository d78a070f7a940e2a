import type { RunEvent } from '@cairn/contract';
import type { StepNote } from './watch-state.ts';

/** The newest note of each step among the events; those of single images are none. */
export function notesOf(events: readonly RunEvent[]): Map<string, StepNote> {
  const notes = events.flatMap(({ seq, type, message, data }): [string, StepNote][] => {
    if (type !== 'note' || data.step === undefined || data.level === undefined) return [];
    return [[data.step, { seq, level: data.level, message: data.said ?? message }]];
  });
  return new Map(notes);
}
