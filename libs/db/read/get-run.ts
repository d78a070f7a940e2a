import {
  actionsIn,
  CairnError,
  cancelCause,
  firstOf,
  holdCause,
  isDoneStep,
  type RunGateView,
  type RunView,
  runGate,
  runGateState,
  runState,
  runVerdict,
} from '@cairn/contract';
import { stringify } from 'yaml';
import { z } from 'zod';
import type { Transaction } from '../client.ts';
import { contextOf, isoTime, isoTimeOrNull, noReuseColumn, readColumn, readNullable, requestColumn } from './columns.ts';
import { findJudgement } from './evaluations.ts';
import { loadHoldReason } from './holds.ts';
import { progressOf } from './run-progress.ts';
import { type AdmissionSource, loadStepViews } from './step-views.ts';

export type RunArgs = { projectId: string; runId: string; admission?: AdmissionSource | undefined };

/**
 * A run with all its steps, each with the reason it waits.
 *
 * @throws CairnError `not_found`
 */
export async function getRun(db: Transaction, { projectId, runId, admission }: RunArgs): Promise<RunView> {
  const run = await db.run.findFirst({ where: { id: runId, projectId }, include: { dataset: { select: { name: true, version: true } } } });
  if (run === null) throw runNotFound(runId);
  const state = readColumn(runState, run.state, `run ${run.id} state`);
  const held = await loadHoldReason(db, run);
  const stepViews = await loadStepViews(db, { id: run.id, name: run.name, state, held }, admission);
  const steps = {
    total: stepViews.length,
    done: stepViews.filter((step) => isDoneStep(step.state)).length,
    reused: stepViews.filter((step) => step.state === 'reused').length,
  };
  return {
    ...{ id: run.id, name: run.name, recipe: run.recipeName, dataset: `${run.dataset.name}@${run.dataset.version}`, owner: run.owner },
    ...{ state, cause: run.cause, priority: run.priority, seq: run.seq, steps },
    ...{ pinnedBy: run.pinnedBy, retiredAt: isoTimeOrNull(run.retiredAt) },
    ...{ tags: run.tags, ...noteOf(run) },
    ...contextOf(run),
    cancelCause: readNullable(cancelCause, run.cancelCause, `run ${run.id} cancel_cause`),
    hold: readNullable(holdCause, run.hold, `run ${run.id} hold`),
    verdict: readColumn(runVerdict, run.verdict, `run ${run.id} verdict`),
    createdAt: isoTime(run.createdAt),
    startedAt: isoTimeOrNull(run.startedAt),
    finishedAt: isoTimeOrNull(run.finishedAt),
    ...progressOf({ state, cause: run.cause, held }, stepViews),
    updatedAt: isoTime(run.updatedAt),
    mapAt100: { best: run.mapBest, last: run.mapLast },
    gpuSeconds: stepViews.reduce((sum, step) => sum + step.gpuSeconds, 0),
    actions: actionsIn(state),
    stepViews,
    noReuse: readColumn(noReuseColumn, run.noReuse, `run ${run.id} no_reuse`),
    recipeYaml: stringify(run.recipe),
    given: readNullable(requestColumn, run.request, `run ${run.id} request`),
    gate: await gateOf(db, run),
  };
}

type NoteRow = { note: string | null; noteBy: string | null; noteAt: Date | null };

/** The note, and its first line as lists have it. */
function noteOf({ note, noteBy, noteAt }: NoteRow): Pick<RunView, 'note' | 'noteLine'> {
  if (note === null || noteBy === null || noteAt === null) return { note: null, noteLine: null };
  return { note: { text: note, by: noteBy, at: isoTime(noteAt) }, noteLine: firstOf(note.split('\n')[0] ?? '', 200) };
}

type GateRow = { id: string; gate: unknown; gateState: string | null; gateGeneration: number; gateProblem: string | null };

async function gateOf(db: Transaction, { id, gate, gateState, gateGeneration, gateProblem }: GateRow): Promise<RunGateView | null> {
  if (gate === null) return null;
  const state = readColumn(runGateState, gateState, `run ${id} gate_state`);
  return {
    // The column also has the token of whoever submitted it.
    ...readColumn(z.object(runGate.shape), gate, `run ${id} gate`),
    state,
    problem: gateProblem,
    judgement: state === 'judged' ? await findJudgement(db, { runId: id, gateGeneration }) : null,
  };
}

export const runNotFound = (runId: string): CairnError =>
  new CairnError('not_found', `Run ${runId} not found; list the runs with GET /v1/runs`);
