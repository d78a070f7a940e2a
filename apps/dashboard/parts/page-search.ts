import { z } from 'zod';

/** Rows of a page of a list. */
const pageSize = 50;
export const cursor = z.string().max(200).optional().catch(undefined);

/** What the address says of a list: the page after this position. */
export const pageSearch = z.object({ cursor });

/** What a list is asked for its page. */
export const pageQuery = (after: string | undefined) => ({ limit: pageSize, ...(after === undefined ? {} : { cursor: after }) });
