import type { RunEvent } from '@cairn/contract';
import { z } from 'zod';
import type { StepNote } from './watch-state.ts';

const noteData = z.object({ step: z.string(), level: z.enum(['info', 'warning']) });

/** The newest note of each step among the events; those of single images are none. */
export function notesOf(events: readonly RunEvent[]): Map<string, StepNote> {
  const notes = events.flatMap((event): [string, StepNote][] => {
    const data = event.type === 'note' ? noteData.safeParse(event.data).data : undefined;
    if (data === undefined) return [];
    const prefix = `${data.step}: `;
    const message = event.message.startsWith(prefix) ? event.message.slice(prefix.length) : event.message;
    return [[data.step, { seq: event.seq, level: data.level, message }]];
  });
  return new Map(notes);
}
