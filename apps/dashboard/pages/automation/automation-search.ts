import { deliveryOutcome, outgoingDeliveryState } from '@cairn/contract';
import { z } from 'zod';

const cursor = z.string().max(200).optional().catch(undefined);

/** A page of a list: the one after this position. */
export const pageSearch = z.object({ cursor });
/** Of what was delivered to a trigger, by what became of it. */
export const hookDeliveriesSearch = z.object({ cursor, outcome: deliveryOutcome.optional().catch(undefined) });
/** Of what was sent to a webhook or a code host, by its state. */
export const outgoingSearch = z.object({ cursor, state: outgoingDeliveryState.optional().catch(undefined) });
