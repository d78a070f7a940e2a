import { idOf } from '@cairn/contract';
import type { BackendFactory, IQueueBackend } from 'bullmq';
import { z } from 'zod';

const attemptEntry = z.object({ attemptId: idOf('attempt'), generation: z.int().min(0) });
const stepEntry = z.object({ stepId: idOf('step'), generation: z.int().min(0) });
const deliveryEntry = z.object({ deliveryId: z.string().regex(/^[0-9]{1,18}$/), generation: z.int().min(0) });
const runEntry = z.object({ runId: idOf('run'), generation: z.int().min(0) });

/** The entries of each queue. */
type QueueEntries = {
  /** Launch an admitted attempt on its executor. */
  launch: z.output<typeof attemptEntry>;
  /** Run an attempt at a task step, which needs no pool. */
  tasks: z.output<typeof attemptEntry>;
  /** Make the artifact of a step that one attempt did, or remove the staged files of a finished step. */
  finalize: z.output<typeof stepEntry>;
  /** Send a message to a webhook, or a report to a code host. */
  deliver: z.output<typeof deliveryEntry>;
  /** Judge a run that succeeded by the gate that it was submitted with. */
  judge: z.output<typeof runEntry>;
};
export type QueueName = keyof QueueEntries;
export type QueueEntry<Name extends QueueName> = QueueEntries[Name];

type QueueDefinition<Entry> = {
  schema: z.ZodType<Entry>;
  /** The row that an entry refers to. */
  rowOf(entry: Entry): string;
  /** The entry for a row, unchecked: `parseEntry` validates what is added. */
  entryOf(row: string, generation: number): Entry;
};

/**
 * Every queue. An entry is a hint: it carries the id of a row and the generation it was added for; the consumer reads the row, decides by
 * it, and ends by writing it. Entries may be lost (an emptied Redis) or delivered twice; the rows are the source of truth.
 */
export const queueCatalogue: { readonly [Name in QueueName]: QueueDefinition<QueueEntry<Name>> } = {
  launch: { schema: attemptEntry, rowOf: (entry) => entry.attemptId, entryOf: (attemptId, generation) => ({ attemptId, generation }) },
  tasks: { schema: attemptEntry, rowOf: (entry) => entry.attemptId, entryOf: (attemptId, generation) => ({ attemptId, generation }) },
  finalize: { schema: stepEntry, rowOf: (entry) => entry.stepId, entryOf: (stepId, generation) => ({ stepId, generation }) },
  deliver: { schema: deliveryEntry, rowOf: (entry) => entry.deliveryId, entryOf: (deliveryId, generation) => ({ deliveryId, generation }) },
  judge: { schema: runEntry, rowOf: (entry) => entry.runId, entryOf: (runId, generation) => ({ runId, generation }) },
};

export const queueName = z.enum(['launch', 'tasks', 'finalize', 'deliver', 'judge'] satisfies QueueName[]);

/**
 * Parses an entry, and names its job: `<row>-<generation>` (BullMQ refuses a colon). While a job of this name waits or
 * runs, adding it again does nothing; once it has ended it can be added again.
 * @throws ZodError for an entry that is invalid for its queue
 */
export function parseEntry<Name extends QueueName>(name: Name, value: unknown): { entry: QueueEntry<Name>; jobId: string } {
  const definition = queueCatalogue[name];
  const entry = definition.schema.parse(value);
  return { entry, jobId: `${definition.rowOf(entry)}-${entry.generation}` };
}

export type AnyBackendFactory = BackendFactory<IQueueBackend, object>;

/** A queue server of either kind, as `openQueues` uses it. */
export type QueueConnection = {
  /** The server's address for messages, without a password. */
  place: string;
  /** BullMQ backends for adding and for consuming entries. */
  producer: AnyBackendFactory;
  consumer: AnyBackendFactory;
  /** Prepares the store if necessary. Rejects when the server does not answer. */
  prepare(): Promise<void>;
  /** One round trip. */
  ping(): Promise<void>;
  /** True when the error means a lost connection that has already been logged. */
  isOutage(error: Error): boolean;
  /** Closes the connections, after the consumers. */
  close(): Promise<void>;
};
