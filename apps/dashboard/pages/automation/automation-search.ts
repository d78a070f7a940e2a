import { deliveryOutcome, outgoingDeliveryState } from '@cairn/contract';
import { z } from 'zod';
import { cursor } from '../../parts/page-search.ts';

/** Of what was delivered to a trigger, by what became of it. */
export const hookDeliveriesSearch = z.object({ cursor, outcome: deliveryOutcome.optional().catch(undefined) });
export type HookDeliveriesSearch = z.infer<typeof hookDeliveriesSearch>;
/** Of what was sent to a webhook or a code host, by its state. */
export const outgoingSearch = z.object({ cursor, state: outgoingDeliveryState.optional().catch(undefined) });
export type OutgoingSearch = z.infer<typeof outgoingSearch>;
