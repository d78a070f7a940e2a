import type { BackendFactory, IQueueBackend } from 'bullmq';

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
