import { CairnError } from '@cairn/contract';
import type { QueueName } from './catalogue.ts';
import type { Consumer, ConsumerOptions } from './consumer.ts';
import type { Queues } from './open-queues.ts';

/** How each queue is consumed; what a process does not consume is left out. */
export type Consumers = { [Name in QueueName]?: ConsumerOptions<Name> };

/**
 * Starts to consume the queues `names` of a process's configuration.
 * @throws CairnError `invalid_configuration` when one has no handler here, before any is started: its entries would be
 *   taken by nobody, or by a process that cannot handle them.
 */
export function consumeAll(queues: Queues, names: readonly QueueName[], consumers: Consumers): Consumer[] {
  const missing = names.filter((name) => consumers[name] === undefined);
  if (missing.length > 0) {
    throw new CairnError('invalid_configuration', `This program has no handler for the queues it shall consume: ${missing.join(', ')}.`, {
      details: { missing },
    });
  }
  return names.map((name) => consumeOne(queues, name, consumers));
}

function consumeOne<Name extends QueueName>(queues: Queues, name: Name, consumers: Consumers): Consumer {
  const options: ConsumerOptions<Name> | undefined = consumers[name];
  if (options === undefined) throw new Error(`no handler for ${name}`);
  return queues.consume(name, options);
}
