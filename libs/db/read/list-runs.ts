import type { RunState, RunSummary } from '@cairn/contract';
import type { Transaction } from '../client.ts';
import { decodeCursor, newestFirstKey, type Page, type PageArgs, pageOf } from './page-cursor.ts';
import { countSteps, runColumns, runSummaryOf } from './run-summary.ts';

export type RunListArgs = PageArgs & {
  projectId: string;
  state?: RunState | undefined;
  /** Name of the recipe. */
  recipe?: string | undefined;
  name?: string | undefined;
};

/** One page of runs, newest first. */
export async function listRuns(db: Transaction, { projectId, state, recipe, name, ...page }: RunListArgs): Promise<Page<RunSummary>> {
  const after = decodeCursor(page.cursor, newestFirstKey);
  const rows = await db.run.findMany({
    where: {
      projectId,
      ...(state === undefined ? {} : { state }),
      ...(recipe === undefined ? {} : { recipeName: recipe }),
      ...(name === undefined ? {} : { name }),
      // The first condition lets the index start at the cursor.
      ...(after === null ? {} : { createdAt: { lte: after[0] }, OR: [{ createdAt: { lt: after[0] } }, { id: { lt: after[1] } }] }),
    },
    orderBy: [{ createdAt: 'desc' }, { id: 'desc' }],
    take: page.limit + 1,
    select: runColumns,
  });
  const counts = await countSteps(
    db,
    rows.map((run) => run.id),
  );
  return pageOf(
    rows,
    page.limit,
    (run) => [run.createdAt.toISOString(), run.id],
    (run) => runSummaryOf(run, counts.get(run.id) ?? { total: 0, done: 0, reused: 0 }),
  );
}
