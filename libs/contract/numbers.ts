import { z } from 'zod';

// Numbers as PostgreSQL keeps them. JSON has larger ones.

/** The largest `integer` of PostgreSQL. */
export const largestInt4 = 2 ** 31 - 1;

/** A number of things, kept as `integer`. */
export const wholeNumber = z.number().int().min(0).max(largestInt4);

/** A size or a place in bytes, kept as `bigint`; JavaScript counts exactly up to 2^53. */
export const byteCount = z.number().int().min(0);
