import { z } from 'zod';
import type { Transaction } from '../client.ts';
import { readRows } from './columns.ts';

const row = z.object({ settings: z.unknown() });

/**
 * Settings of the training step whose loader processes hold most in memory; null where none of the steps has any. It orders by the factors
 * of `sharedMemoryBytes` (@cairn/executor) that differ between steps: thousands may wait, and one row comes back.
 */
export async function settingsOfLargestLoader(db: Transaction, stepIds: readonly string[]): Promise<unknown> {
  const rows = await db.$queryRaw`
    select s.settings
      from step s
     where s.id = any(${[...stepIds]}) and s.kind = 'train' and (s.settings->>'loaderWorkers')::int > 0
     order by (s.settings->>'ranks')::float8 * (s.settings->>'loaderWorkers')::float8 * (s.settings->>'batch')::float8
              * (s.settings->>'imageSize')::float8 ^ 2 desc
     limit 1`;
  return readRows(row, rows)[0]?.settings ?? null;
}
