import { CairnError, isDoneStep, type RunView, runState } from '@cairn/contract';
import type { Transaction } from '../client.ts';
import { noReuseColumn, readColumn } from './columns.ts';
import { runColumns, runSummaryOf } from './run-summary.ts';
import { type AdmissionSource, loadStepViews } from './step-views.ts';

export type RunArgs = { projectId: string; runId: string; admission?: AdmissionSource | undefined };

/**
 * A run with all its steps, each with the reason it waits.
 *
 * @throws CairnError `not_found`
 */
export async function getRun(db: Transaction, { projectId, runId, admission }: RunArgs): Promise<RunView> {
  const run = await db.run.findFirst({ where: { id: runId, projectId }, select: runColumns });
  if (run === null) throw runNotFound(runId);
  const stepViews = await loadStepViews(db, { id: run.id, state: readColumn(runState, run.state, `run ${run.id} state`) }, admission);
  const steps = {
    total: stepViews.length,
    done: stepViews.filter((step) => isDoneStep(step.state)).length,
    reused: stepViews.filter((step) => step.state === 'reused').length,
  };
  return { ...runSummaryOf(run, steps), stepViews, noReuse: readColumn(noReuseColumn, run.noReuse, `run ${run.id} no_reuse`) };
}

export const runNotFound = (runId: string): CairnError =>
  new CairnError('not_found', `Run ${runId} not found; list the runs with GET /v1/runs`);
