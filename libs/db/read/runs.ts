import {
  CairnError,
  isDoneStep,
  type RunEvent,
  type RunState,
  type RunSummary,
  type RunView,
  runEvent,
  runState,
  runVerdict,
  stepState,
} from '@cairn/contract';
import type { Transaction } from '../client.ts';
import type { Event, Prisma } from '../generated/client.ts';
import { isoTime, isoTimeOrNull, noReuseColumn, readColumn } from './columns.ts';
import { decodeCursor, newestFirstKey, type Page, type PageArgs, pageOf } from './page-cursor.ts';
import { type AdmissionSource, loadStepViews } from './step-views.ts';

type RunArgs = { projectId: string; runId: string; admission?: AdmissionSource | undefined };

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

type RunListArgs = PageArgs & {
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

/** The columns of a run that views show: not its recipe, which may be long. */
const runColumns = {
  id: true,
  name: true,
  recipeName: true,
  owner: true,
  state: true,
  cause: true,
  verdict: true,
  priority: true,
  noReuse: true,
  seq: true,
  createdAt: true,
  startedAt: true,
  finishedAt: true,
  dataset: { select: { name: true, version: true } },
} as const satisfies Prisma.RunSelect;

export type RunRow = Prisma.RunGetPayload<{ select: typeof runColumns }>;
type StepCounts = RunSummary['steps'];

function runSummaryOf(run: RunRow, steps: StepCounts): RunSummary {
  return {
    id: run.id,
    name: run.name,
    recipe: run.recipeName,
    dataset: `${run.dataset.name}@${run.dataset.version}`,
    owner: run.owner,
    state: readColumn(runState, run.state, `run ${run.id} state`),
    cause: run.cause,
    verdict: readColumn(runVerdict, run.verdict, `run ${run.id} verdict`),
    priority: run.priority,
    seq: run.seq,
    steps,
    createdAt: isoTime(run.createdAt),
    startedAt: isoTimeOrNull(run.startedAt),
    finishedAt: isoTimeOrNull(run.finishedAt),
  };
}

/** Step counts of each run: total, done (including reused) and reused. One query. */
async function countSteps(db: Transaction, runIds: readonly string[]): Promise<Map<string, StepCounts>> {
  const counts = new Map<string, StepCounts>();
  if (runIds.length === 0) return counts;
  const groups = await db.step.groupBy({ by: ['runId', 'state'], where: { runId: { in: [...runIds] } }, _count: true });
  for (const { runId, state, _count } of groups) {
    const steps = counts.get(runId) ?? { total: 0, done: 0, reused: 0 };
    steps.total += _count;
    if (isDoneStep(readColumn(stepState, state, `a step of run ${runId} state`))) steps.done += _count;
    if (state === 'reused') steps.reused += _count;
    counts.set(runId, steps);
  }
  return counts;
}

type EventArgs = {
  runId: string;
  /** Return events after this sequence number; 0 for all. */
  after: number;
  limit: number;
};

/**
 * A run's history after a sequence number, oldest first.
 *
 * @throws CairnError `not_found`
 */
export async function listEvents(
  db: Transaction,
  { projectId, ...args }: EventArgs & { projectId: string },
): Promise<{ items: RunEvent[]; nextSeq: number }> {
  if ((await db.run.count({ where: { id: args.runId, projectId } })) === 0) throw runNotFound(args.runId);
  const items = await readEvents(db, args);
  return { items, nextSeq: items.at(-1)?.seq ?? args.after };
}

/** Events of a run that is known to exist. */
export async function readEvents(db: Transaction, { runId, after, limit }: EventArgs): Promise<RunEvent[]> {
  const rows = await db.event.findMany({ where: { runId, seq: { gt: after } }, orderBy: { seq: 'asc' }, take: limit });
  return rows.map(eventViewOf);
}

function eventViewOf(row: Event): RunEvent {
  return readColumn(runEvent, { ...row, at: isoTime(row.at) }, `event ${row.seq} of run ${row.runId}`);
}
