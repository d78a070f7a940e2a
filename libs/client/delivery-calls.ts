import {
  codeHostList,
  type codeHostRequest,
  type codeHostToken,
  codeHostView,
  type OutgoingDeliveryView,
  type outgoingDeliveryListQuery,
  outgoingDeliveryPage,
  outgoingDeliveryView,
  webhookCreated,
  webhookList,
  type webhookRequest,
  webhookView,
} from '@cairn/contract';
import type { z } from 'zod';
import { eachItem, type Requester, type RequestOptions, statusAlone } from './request.ts';

type DeliveryListQuery = Partial<z.output<typeof outgoingDeliveryListQuery>>;

/** Calls about what is sent to other services. */
export function deliveryCalls({ send }: Requester) {
  const webhook = (name: string, ...rest: string[]) => ['v1', 'webhooks', name, ...rest];
  const codeHost = (name: string, ...rest: string[]) => ['v1', 'code-hosts', name, ...rest];
  const listWebhookDeliveries = (name: string, query: DeliveryListQuery = {}, options?: RequestOptions) =>
    send({ method: 'GET', path: webhook(name, 'deliveries'), query, repeatable: true, answer: outgoingDeliveryPage }, options);
  const listReports = (name: string, query: DeliveryListQuery = {}, options?: RequestOptions) =>
    send({ method: 'GET', path: codeHost(name, 'deliveries'), query, repeatable: true, answer: outgoingDeliveryPage }, options);

  return {
    listWebhooks: (options?: RequestOptions) =>
      send({ method: 'GET', path: ['v1', 'webhooks'], repeatable: true, answer: webhookList }, options),
    /** Only the answer has the secret; it is never shown again, so a failed try is not repeated. */
    addWebhook: (body: z.input<typeof webhookRequest>, options?: RequestOptions) =>
      send({ method: 'POST', path: ['v1', 'webhooks'], body, repeatable: false, answer: webhookCreated }, options),
    getWebhook: (name: string, options?: RequestOptions) =>
      send({ method: 'GET', path: webhook(name), repeatable: true, answer: webhookView }, options),
    removeWebhook: async (name: string, options?: RequestOptions): Promise<void> => {
      await send({ method: 'DELETE', path: webhook(name), repeatable: false, answer: statusAlone }, options);
    },
    /** Only the answer has the new secret. */
    rotateWebhook: (name: string, options?: RequestOptions) =>
      send({ method: 'POST', path: webhook(name, 'rotate'), repeatable: false, answer: webhookCreated }, options),
    testWebhook: (name: string, options?: RequestOptions) =>
      send({ method: 'POST', path: webhook(name, 'test'), repeatable: false, answer: outgoingDeliveryView }, options),
    listWebhookDeliveries,
    eachWebhookDelivery: (
      name: string,
      query: DeliveryListQuery = {},
      options?: RequestOptions,
    ): AsyncGenerator<OutgoingDeliveryView, void, void> =>
      eachItem((cursor) => listWebhookDeliveries(name, cursor === undefined ? query : { ...query, cursor }, options)),
    getWebhookDelivery: (name: string, delivery: string, options?: RequestOptions) =>
      send({ method: 'GET', path: webhook(name, 'deliveries', delivery), repeatable: true, answer: outgoingDeliveryView }, options),
    resendDelivery: (name: string, delivery: string, options?: RequestOptions) =>
      send(
        { method: 'POST', path: webhook(name, 'deliveries', delivery, 'resend'), repeatable: false, answer: outgoingDeliveryView },
        options,
      ),

    listCodeHosts: (options?: RequestOptions) =>
      send({ method: 'GET', path: ['v1', 'code-hosts'], repeatable: true, answer: codeHostList }, options),
    addCodeHost: (body: z.input<typeof codeHostRequest>, options?: RequestOptions) =>
      send({ method: 'POST', path: ['v1', 'code-hosts'], body, repeatable: false, answer: codeHostView }, options),
    getCodeHost: (name: string, options?: RequestOptions) =>
      send({ method: 'GET', path: codeHost(name), repeatable: true, answer: codeHostView }, options),
    replaceCodeHostToken: (name: string, body: z.input<typeof codeHostToken>, options?: RequestOptions) =>
      send({ method: 'PUT', path: codeHost(name, 'token'), body, repeatable: true, answer: codeHostView }, options),
    removeCodeHost: async (name: string, options?: RequestOptions): Promise<void> => {
      await send({ method: 'DELETE', path: codeHost(name), repeatable: false, answer: statusAlone }, options);
    },
    listReports,
    eachReport: (name: string, query: DeliveryListQuery = {}, options?: RequestOptions): AsyncGenerator<OutgoingDeliveryView, void, void> =>
      eachItem((cursor) => listReports(name, cursor === undefined ? query : { ...query, cursor }, options)),
  };
}
