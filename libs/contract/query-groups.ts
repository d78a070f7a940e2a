import { z } from 'zod';

// The groups of queries for which scores are also given apart, and the ranks of scores.

/** Public and Private queries are scored. */
export const scoredUsage = z.enum(['Public', 'Private']);

/** The continents of lists. OTHER has the landmarks of unknown countries. */
export const continents = ['Africa', 'Antarctica', 'Asia', 'Europe', 'North America', 'Oceania', 'OTHER', 'South America'] as const;
export const continent = z.enum(continents);
export type Continent = z.infer<typeof continent>;

/** The ranks at which CMC, precision and recall are given. */
export const metricRanks = [1, 5, 10, 20, 100] as const;
export type MetricRank = `${(typeof metricRanks)[number]}`;
