import { type shardCounts, type shardList, shardState } from '@cairn/contract';
import type { z } from 'zod';
import type { Transaction } from '../client.ts';
import { isoTimeOrNull, readColumn } from './columns.ts';
import { findStepRow, type StepArgs } from './get-step.ts';

/** The shards of an extraction in order; none for a step without shards, or before they are planned. */
export async function listShards(db: Transaction, args: StepArgs): Promise<z.infer<typeof shardList>> {
  const step = await findStepRow(db, args);
  const rows = await db.shard.findMany({
    where: { stepId: step.id },
    orderBy: { index: 'asc' },
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
    leased: rows.filter((row) => row.state === 'leased').length,
    rows: step.rows,
    rejected: step.rejected,
  };
  const items = rows.map(({ fromRow, state, leaseUntil, ...row }) => ({
    ...row,
    from: fromRow,
    state: readColumn(shardState, state, `shard ${row.index} of step ${step.id} state`),
    leaseUntil: isoTimeOrNull(leaseUntil),
  }));
  return { counts, items };
}
