import {
  type DeliveryView,
  deliveryPage,
  type deliveryQuery,
  hookAnswer,
  type rotateRequest,
  type TriggerView,
  triggerCreated,
  triggerPage,
  type triggerRequest,
  triggerView,
} from '@cairn/contract';
import type { z } from 'zod';
import { eachItem, type Requester, type RequestOptions, statusAlone } from './request.ts';

/** Calls about triggers and their deliveries. */
export function triggerCalls({ send }: Requester) {
  const path = (...rest: string[]) => ['v1', 'triggers', ...rest];
  const listTriggers = (query: { limit?: number; cursor?: string } = {}, options?: RequestOptions) =>
    send({ method: 'GET', path: path(), query, repeatable: true, answer: triggerPage }, options);
  const listDeliveries = (name: string, query: Partial<z.output<typeof deliveryQuery>> = {}, options?: RequestOptions) =>
    send({ method: 'GET', path: path(name, 'deliveries'), query, repeatable: true, answer: deliveryPage }, options);

  return {
    /** Only the answers of this and of `rotateTrigger` have the secret; a failed try is not repeated. */
    addTrigger: (body: z.input<typeof triggerRequest>, options?: RequestOptions) =>
      send({ method: 'POST', path: path(), body, repeatable: false, answer: triggerCreated }, options),
    rotateTrigger: (name: string, body: z.input<typeof rotateRequest> = {}, options?: RequestOptions) =>
      send({ method: 'POST', path: path(name, 'rotate'), body, repeatable: false, answer: triggerCreated }, options),
    getTrigger: (name: string, options?: RequestOptions) =>
      send({ method: 'GET', path: path(name), repeatable: true, answer: triggerView }, options),
    eachTrigger: (options?: RequestOptions): AsyncGenerator<TriggerView, void, void> =>
      eachItem((cursor) => listTriggers(cursor === undefined ? {} : { cursor }, options)),
    removeTrigger: async (name: string, options?: RequestOptions): Promise<void> => {
      await send({ method: 'DELETE', path: path(name), repeatable: false, answer: statusAlone }, options);
    },
    listTriggers,
    listDeliveries,
    eachDelivery: (name: string, query: { outcome?: DeliveryView['outcome'] } = {}, options?: RequestOptions) =>
      eachItem<DeliveryView>((cursor) => listDeliveries(name, { ...query, ...(cursor === undefined ? {} : { cursor }) }, options)),
    /** Starts the run of a held delivery. */
    releaseDelivery: (name: string, id: string, options?: RequestOptions) =>
      send({ method: 'POST', path: path(name, 'deliveries', id, 'release'), repeatable: false, answer: hookAnswer }, options),
  };
}
