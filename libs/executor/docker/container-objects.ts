import { z } from 'zod';
import { attemptLabel, generationLabel, nameAnnotation } from '../attempt-labels.ts';

// What is read of Docker's objects, and no more.

const labels = z
  .record(z.string(), z.string())
  .nullish()
  .transform((value) => value ?? {});

/** One of a list. Its state: created, running, paused, restarting, removing, exited or dead. It was created so many seconds after the epoch. */
export const listedContainer = z.object({
  Id: z.string(),
  Names: z.array(z.string()),
  State: z.string(),
  Labels: labels,
  Created: z.number(),
});
export type ListedContainer = z.infer<typeof listedContainer>;

/** The engine's word for `never`. */
const time = z.string().transform((text) => (text.startsWith('0001-') ? null : Date.parse(text)));

export const inspectedContainer = z.object({
  Id: z.string(),
  Name: z.string().transform((name) => name.replace(/^\//, '')),
  Created: time,
  Config: z.object({ Labels: labels }),
  State: z.object({
    Status: z.string(),
    OOMKilled: z.boolean(),
    ExitCode: z.number(),
    /** Why it could not be started. */
    Error: z.string(),
    FinishedAt: time,
  }),
});
export type InspectedContainer = z.infer<typeof inspectedContainer>;

export const containerEvent = z.object({ Actor: z.object({ Attributes: labels }) });

export type AttemptIdentity = { attemptId: string; generation: number; name: string };

/** Whose container it is; null for a stranger's. */
export function identityOf(containerLabels: Readonly<Record<string, string>>): AttemptIdentity | null {
  const attemptId = containerLabels[attemptLabel];
  const generation = Number(containerLabels[generationLabel]);
  if (attemptId === undefined || !Number.isInteger(generation)) return null;
  return { attemptId, generation, name: containerLabels[nameAnnotation] ?? attemptId };
}
