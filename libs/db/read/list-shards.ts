import { type shardCounts, type shardList, shardState } from '@cairn/contract';
import type { z } from 'zod';
import type { Transaction } from '../client.ts';
import { isoTimeOrNull, readColumn } from './columns.ts';
import { findStepRow, type StepArgs } from './get-step.ts';

const shardsPerPage = 1_000;

/** A page of a fleet's shards in order; none for a step without shards, or before they are planned. */
export async function listShards(db: Transaction, { from, ...args }: StepArgs & { from: number }): Promise<z.infer<typeof shardList>> {
  const step = await findStepRow(db, args);
  const rows = await db.shard.findMany({
    where: { stepId: step.id, index: { gte: from } },
    orderBy: { index: 'asc' },
    take: shardsPerPage,
    select: {
      index: true,
      fromRow: true,
      count: true,
      state: true,
      attemptId: true,
      leaseUntil: true,
      tries: true,
      rows: true,
      rejected: true,
    },
  });
  const counts: z.infer<typeof shardCounts> = {
    total: step.shardsTotal ?? 0,
    committed: step.shardsCommitted,
    leased: await db.shard.count({ where: { stepId: step.id, state: 'leased' } }),
    rows: step.rows,
    rejected: step.rejected,
  };
  const items = rows.map(({ fromRow, state, leaseUntil, ...row }) => ({
    ...row,
    from: fromRow,
    state: readColumn(shardState, state, `shard ${row.index} of step ${step.id} state`),
    leaseUntil: isoTimeOrNull(leaseUntil),
  }));
  const last = rows.at(-1);
  return { counts, items, next: last && rows.length === shardsPerPage ? last.index + 1 : null };
}
