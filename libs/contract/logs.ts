import { z } from 'zod';
import { logStream } from './internal.ts';
import { largestInt4, largestLogOffset } from './names.ts';
import { writtenText } from './text.ts';

// The log of an attempt, in bytes or in lines. It is stored apart from the pod, so it can be read whatever became of it.

const maxBytes = 1024 * 1024;
const byteOffset = z.coerce
  .number()
  .int()
  .min(0)
  .max(largestLogOffset + 2 ** 20);

/** GET /v1/attempts/:id/logs. */
export const logQuery = z.strictObject({
  stream: logStream.default('stdout'),
  /** Byte offset to read from, up to the end of the last chunk. */
  offset: byteOffset.default(0),
  /** Instead of `offset`: start this many bytes before the end, at the beginning of a line. */
  tail: z.coerce.number().int().min(1).max(maxBytes).optional(),
  limit: z.coerce
    .number()
    .int()
    .min(1)
    .max(maxBytes)
    .default(256 * 1024),
  /** How long to wait for more when there is nothing after `offset`. */
  waitSeconds: z.coerce.number().min(0).max(30).default(0),
});
export const logPage = z.object({
  stream: logStream,
  offset: z.number().int(),
  /** The offset of the next page. */
  nextOffset: z.number().int(),
  text: z.string(),
  /** True when the attempt has ended and `nextOffset` is the end of its log. */
  end: z.boolean(),
  /** The end of the log so far, in bytes. */
  size: z.number().int(),
});
export type LogPage = z.infer<typeof logPage>;

const lineNumber = z.coerce.number().int().min(1).max(largestInt4);

/** GET /v1/attempts/:id/logs/lines: a range by line numbers, the lines from a byte offset on, or the last ones (the default). */
export const logLinesQuery = z.strictObject({
  stream: logStream.default('stdout'),
  from: lineNumber.optional().describe('The number of the first line, from 1.'),
  offset: byteOffset.optional().describe('Instead of `from`: the line that holds this byte comes first.'),
  count: z.coerce.number().int().min(1).max(5_000).default(500),
});
export const logLines = z.object({
  stream: logStream,
  /** The number of the first line of `lines`, from 1. */
  from: z.number().int(),
  /** Without their line feeds; a carriage return stays. A page has at most 1 MiB, so maybe fewer lines than wanted, and a line at most 64 KiB. */
  lines: z.array(z.object({ offset: z.number().int(), text: z.string(), isCut: z.boolean() })),
  /** Lines of the log so far; the last one may not be complete. */
  total: z.number().int(),
  /** Its end so far, in bytes. */
  size: z.number().int(),
  /** True when the attempt has ended: nothing is added. */
  isOver: z.boolean(),
});
export type LogLines = z.infer<typeof logLines>;

/** GET /v1/attempts/:id/logs/search. */
export const logSearchQuery = z.strictObject({
  stream: logStream.default('stdout'),
  q: writtenText(200, { least: 1 }).describe('Text within a line, in any case.'),
  from: lineNumber.default(1).describe('Search from this line on: `next` of the previous answer.'),
  limit: z.coerce.number().int().min(1).max(1_000).default(200),
});
export const logMatches = z.object({
  stream: logStream,
  /** `text` is at most 300 characters around the match. */
  matches: z.array(z.object({ line: z.number().int(), offset: z.number().int(), text: z.string() })),
  /** The line to continue from; null when the search has reached the end. */
  next: z.number().int().nullable(),
});
export type LogMatches = z.infer<typeof logMatches>;
