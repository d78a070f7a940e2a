import { evaluationReference, queryOrders, scoredUsage } from '@cairn/contract';
import { z } from 'zod';

const optional = <T extends z.ZodType>(value: T) => value.optional().catch(undefined);

/** What the address of an evaluation's page says: a link to it shows the same queries in the same order. */
export const evaluationSearch = z.object({
  of: optional(evaluationReference),
  /** The evaluation to compare with. */
  against: optional(evaluationReference),
  sort: optional(z.enum(queryOrders)),
  usage: optional(scoredUsage),
  /** Only this query, by its id: a comment at a code host leads to it. */
  query: optional(z.string().min(1).max(200)),
  /** Of the page of queries. */
  cursor: optional(z.string().max(200)),
});
export type EvaluationSearch = z.infer<typeof evaluationSearch>;

/** The orders of queries; those by change need an evaluation to compare with. */
export const orders = {
  worst: { label: 'worst first', needsAgainst: false },
  best: { label: 'best first', needsAgainst: false },
  changed: { label: 'changed most', needsAgainst: true },
  gained: { label: 'gained most', needsAgainst: true },
  lost: { label: 'lost most', needsAgainst: true },
  id: { label: 'by id', needsAgainst: false },
} as const satisfies Record<(typeof queryOrders)[number], { label: string; needsAgainst: boolean }>;

/** The order that is shown: the worst first where the address has none that is possible. */
export const orderOfSearch = ({ sort, against }: EvaluationSearch): keyof typeof orders =>
  sort !== undefined && (against !== undefined || !orders[sort].needsAgainst) ? sort : 'worst';
