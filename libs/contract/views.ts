import { z } from 'zod';
import { timestamp } from './names.ts';
import { writtenText } from './text.ts';

// Saved views: pages of the dashboard with their filters, under a name, for one person or for all.

/** Most views of one owner, and most that a list has. */
export const maxViews = 100;
export const maxListedViews = 1_000;

/** Pages whose filters are in their address. */
export const viewPage = z.enum(['runs', 'ledger', 'audit', 'compare']);
export type ViewPage = z.infer<typeof viewPage>;

export const viewName = writtenText(60, { least: 1 }).refine(
  (name) => name.trim() === name,
  'leave out spaces at the beginning and the end',
);

/** The query of the page's address: `state=failed&owner=anna`. Visible ASCII characters, as in addresses. */
const viewQuery = z
  .string()
  .max(2_000)
  .regex(/^[!-~]*$/, 'use the part of the address after ?, such as state=failed&owner=anna')
  .refine((query) => !/[#?]/.test(query), 'leave out # and ?');

/** PUT /v1/views/:name: saves or changes a view of the caller. */
export const viewRequest = z.strictObject({
  page: viewPage.default('runs'),
  query: viewQuery,
  /** Whether everyone of the project sees it. */
  isShared: z.boolean().default(false),
});
export type ViewRequest = z.output<typeof viewRequest>;

export const savedView = z.object({
  name: z.string(),
  /** The name of the token that saved it. */
  owner: z.string(),
  page: viewPage,
  query: z.string(),
  isShared: z.boolean(),
  updatedAt: timestamp,
});
export type SavedView = z.infer<typeof savedView>;
/** Those of the caller first, then shared ones of others; each by name. */
export const viewList = z.object({ items: z.array(savedView) });
