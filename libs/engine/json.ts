import type { Prisma } from '@cairn/db';

/** A value as a JSON column takes it: what JSON cannot say (undefined fields, Maps) is left out. */
export const toJson = (value: unknown): Prisma.InputJsonValue => JSON.parse(JSON.stringify(value));
