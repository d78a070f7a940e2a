export * from './catalogue.ts';
export type { Consumer, ConsumerOptions, QueueHandler } from './consumer.ts';
export * from './open-queues.ts';
