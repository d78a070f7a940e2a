import { z } from 'zod';
import { timestamp } from './names.ts';
import { writtenText } from './text.ts';

// What people write about a run after it was submitted: a note, and tags. Unlike labels, they change nothing but what is found.

export const maxTags = 16;
export const maxNoteCharacters = 10_000;

export const runTag = z
  .string()
  .regex(
    /^[A-Za-z0-9](?:[A-Za-z0-9._:/-]{0,38}[A-Za-z0-9])?$/,
    'use letters, digits, dot, dash, underscore, colon and slash, with a letter or digit at both ends, at most 40 characters',
  );

/** A run's note, and who wrote it last. */
export const runNote = z.object({ text: z.string(), by: z.string(), at: timestamp });
export type RunNote = z.infer<typeof runNote>;

/** POST /v1/runs/:id/annotate. What is left out stays. */
export const annotateRequest = z.strictObject({
  note: writtenText(maxNoteCharacters, { lines: true }).optional().describe('In place of the note; an empty one removes it.'),
  ifNote: writtenText(maxNoteCharacters, { lines: true })
    .optional()
    .describe('Refused with `wrong_state` unless this is the note now, so that nobody overwrites what another person wrote; empty: none.'),
  addTags: z.array(runTag).max(maxTags).default([]),
  removeTags: z.array(runTag).max(maxTags).default([]),
});
export type AnnotateRequest = z.output<typeof annotateRequest>;
