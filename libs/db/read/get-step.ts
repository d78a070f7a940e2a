import { CairnError, runState, type StepView } from '@cairn/contract';
import type { Transaction } from '../client.ts';
import { readColumn } from './columns.ts';
import { noSuchRun } from './get-run.ts';
import { type AdmissionSource, loadStepViews } from './step-views.ts';

export type StepArgs = { projectId: string; runId: string; name: string };

/**
 * One step of a run by its name.
 *
 * @throws CairnError `not_found`, naming the run's steps
 */
export async function getStep(db: Transaction, args: StepArgs & { admission?: AdmissionSource | undefined }): Promise<StepView> {
  const run = await db.run.findFirst({ where: { id: args.runId, projectId: args.projectId }, select: { id: true, state: true } });
  if (run === null) throw noSuchRun(args.runId);
  const views = await loadStepViews(db, { id: run.id, state: readColumn(runState, run.state, `run ${run.id} state`) }, args.admission);
  const view = views.find((step) => step.name === args.name);
  if (view === undefined)
    throw noSuchStep(
      args,
      views.map((step) => step.name),
    );
  return view;
}

/** The row of a step that a screen of its own asks for. */
export async function findStepRow(db: Transaction, args: StepArgs) {
  const step = await db.step.findFirst({
    where: { runId: args.runId, name: args.name, run: { projectId: args.projectId } },
    select: { id: true, name: true, kind: true, shardsTotal: true, shardsCommitted: true, rows: true, rejected: true },
  });
  if (step !== null) return step;
  const run = await db.run.findFirst({
    where: { id: args.runId, projectId: args.projectId },
    select: { steps: { select: { name: true }, orderBy: { position: 'asc' } } },
  });
  throw run === null
    ? noSuchRun(args.runId)
    : noSuchStep(
        args,
        run.steps.map((other) => other.name),
      );
}

const noSuchStep = (args: StepArgs, names: readonly string[]): CairnError =>
  new CairnError('not_found', `Run ${args.runId} has no step "${args.name}"; its steps are ${names.join(', ')}`);
