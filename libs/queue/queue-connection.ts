import type { BackendFactory, IQueueBackend } from 'bullmq';

export type AnyBackendFactory = BackendFactory<IQueueBackend, object>;

/** One server of queues, whatever its kind, as `openQueues` uses it. */
export type QueueConnection = {
  /** For messages: without password. */
  place: string;
  /** How BullMQ reaches the server to add, and to consume. */
  producer: AnyBackendFactory;
  consumer: AnyBackendFactory;
  /** Prepares the store if it must be. Rejects when the server does not answer. */
  prepare(): Promise<void>;
  /** One round trip. */
  ping(): Promise<void>;
  /** True when the error tells of a lost connection, and the log has said so. */
  isOutage(error: Error): boolean;
  /** Ends the connections, after the consumers. */
  close(): Promise<void>;
};
