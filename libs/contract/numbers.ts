import { z } from 'zod';

// Numbers as PostgreSQL stores them. JSON allows larger ones.

/** The largest `integer` of PostgreSQL. */
export const largestInt4 = 2 ** 31 - 1;

/** A count, stored as `integer`. */
export const wholeNumber = z.number().int().min(0).max(largestInt4);

/** A size or an offset in bytes, stored as `bigint`; JavaScript counts exactly up to 2^53. */
export const byteCount = z.number().int().min(0);

/** The largest offset at which a log chunk may begin, so that the ends of the chunk and of a page are exact too. */
export const largestLogOffset = 2 ** 52;
