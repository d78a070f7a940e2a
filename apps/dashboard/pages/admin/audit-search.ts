import { z } from 'zod';
import { cursor } from '../../parts/page-search.ts';

const text = z.string().min(1).max(100).optional().catch(undefined);

/** Which entries of the audit log the address shows. */
export const auditSearch = z.object({ actor: text, action: text, target: text, cursor });
export type AuditSearch = z.infer<typeof auditSearch>;
export const filterKeys = ['actor', 'action', 'target'] as const satisfies readonly (keyof AuditSearch)[];
export type FilterKey = (typeof filterKeys)[number];
