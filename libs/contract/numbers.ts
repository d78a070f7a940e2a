import { z } from 'zod';

// Numbers as PostgreSQL keeps them. JSON has larger ones.

/** The largest `integer` of PostgreSQL. */
export const largestInt4 = 2 ** 31 - 1;

/** A number of things, kept as `integer`. */
export const wholeNumber = z.number().int().min(0).max(largestInt4);

/** A size or a place in bytes, kept as `bigint`; JavaScript counts exactly up to 2^53. */
export const byteCount = z.number().int().min(0);

/** The last place in a log at which a chunk may begin: what is counted from it on, its end and that of a page, is exact too. */
export const largestLogOffset = 2 ** 52;
