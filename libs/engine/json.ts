import type { Prisma } from '@cairn/db';

/** A value in the form of a JSON column: what JSON cannot express (undefined fields, Maps) is omitted. */
export const toJson = (value: unknown): Prisma.InputJsonValue => JSON.parse(JSON.stringify(value));
