import { idOf, logStream } from '@cairn/contract';
import { z } from 'zod';

export const runTabs = ['steps', 'timeline', 'training', 'extraction', 'logs', 'events', 'settings', 'lineage'] as const;
export type RunTab = (typeof runTabs)[number];

const optional = <T extends z.ZodType>(value: T) => value.optional().catch(undefined);

/** What the address of a run's page says: a link to it shows the same tab, step, log line or curve. */
export const runSearch = z.object({
  tab: optional(z.enum(runTabs)),
  /** The chosen step. */
  step: optional(z.string().max(100)),
  /** Of a log: whose, which, the marked line, and the searched text, which is that of the settings too. */
  attempt: optional(idOf('attempt')),
  stream: optional(logStream),
  line: optional(z.coerce.number().int().min(1)),
  q: optional(z.string().max(200)),
  /** The events before this one. */
  before: optional(z.coerce.number().int().min(1)),
  /** The selected shard of an extraction, what colours the shards other than their state, and the page of the rejected images. */
  colour: optional(z.enum(['worker', 'time'])),
  shard: optional(z.coerce.number().int().min(0)),
  cursor: optional(z.string().max(200)),
  /** Of the curves. */
  x: optional(z.enum(['step', 'epoch', 'time'])),
  scale: optional(z.enum(['linear', 'log'])),
  smoothing: optional(z.coerce.number().min(0).max(0.99)),
});
export type RunSearch = z.infer<typeof runSearch>;
