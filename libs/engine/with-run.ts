import { isEndedRun, liveRunStates, onNewer, type RunState, workingRunStates } from '@cairn/contract';
import { inTransaction, listOfStates, type Transaction } from '@cairn/db';
import { decideGroup, type GroupAction, type GroupRun } from '@cairn/domain';
import { z } from 'zod';
import { states } from './columns.ts';
import type { EngineContext } from './engine.ts';
import { inRun } from './in-run.ts';
import { changeRun, type RunWork } from './run-work.ts';
import { moveRun } from './settle.ts';

/**
 * Locks a run, lets `work` change it, settles it (`advance` until nothing is left to do) and commits. When the run has ended, the next of
 * its concurrency group starts.
 *
 * @param lockFirst takes locks that come before that of the run
 */
export async function withRun<T>(
  ctx: EngineContext,
  runId: string,
  work: (run: RunWork) => Promise<T>,
  lockFirst: (tx: Transaction) => Promise<void> = async () => undefined,
): Promise<T> {
  const alsoSettle = new Set<string>();
  const { value, run } = await inTransaction(ctx.prisma, async (tx) => {
    await lockFirst(tx);
    return inRun(ctx, tx, { runId, alsoSettle }, work);
  });
  alsoSettle.delete(runId);
  for (const other of alsoSettle) await settleRun(ctx, other);
  if (run.group !== null && isEndedRun(run.state)) await settleGroup(ctx, { projectId: run.projectId, group: run.group });
  return value;
}

/** Advances a run that an external change may have unblocked. */
export async function settleRun(ctx: EngineContext, runId: string): Promise<void> {
  await withRun(ctx, runId, async () => undefined);
}

/** Starts and supersedes runs of a group until `decideGroup` has nothing left to do, each in a transaction of its own. */
export async function settleGroup(ctx: EngineContext, key: GroupKey): Promise<void> {
  for (;;) {
    const alsoSettle = new Set<string>();
    const isSettled = await inTransaction(ctx.prisma, (tx) => nextInGroup(ctx, tx, key, alsoSettle));
    for (const other of alsoSettle) await settleRun(ctx, other);
    if (isSettled) return;
  }
}

/** A concurrency group of a project. */
export type GroupKey = { projectId: string; group: string };

/**
 * Takes the group's lock until the commit. It comes before the locks of runs: a transaction that holds the lock of a run must not ask for
 * one of a group.
 */
export async function lockGroup(tx: Transaction, { projectId, group }: GroupKey): Promise<void> {
  await tx.$executeRaw`select pg_advisory_xact_lock(hashtextextended(${`group ${projectId} ${group}`}, 0))`;
}

/** The place of a run that enters the group now, under its lock, behind all others that live; `isFree` when it may run at once. */
export async function placeInGroup(tx: Transaction, key: GroupKey): Promise<{ place: number; isFree: boolean }> {
  const { projectId, group } = key;
  const [last] = await tx.$queryRaw<{ place: number | null }[]>`
    select max(group_place)::float8 as place from run
     where project_id = ${projectId} and concurrency_group = ${group} and state in ${listOfStates(liveRunStates)}`;
  return { place: (last?.place ?? 0) + 1, isFree: (await readGroup(tx, key)).length === 0 };
}

/** Takes the first action of `decideGroup`, if there is one; true when nothing is left to do. */
async function nextInGroup(ctx: EngineContext, tx: Transaction, key: GroupKey, alsoSettle: Set<string>): Promise<boolean> {
  await lockGroup(tx, key);
  const [action] = decideGroup(await readGroup(tx, key));
  if (action === undefined) return true;
  await inRun(ctx, tx, { runId: action.runId, alsoSettle }, async (run) => apply(run, action));
  return false;
}

function apply(run: RunWork, action: GroupAction): void {
  // Its own end may have come first.
  if (action.type === 'start') {
    if (run.state === 'held') moveRun(run, run.hasStarted ? 'running' : 'queued', null);
  } else if (run.state === 'held' || run.state === 'queued' || run.state === 'running') {
    changeRun(run, { cancelCause: 'superseded' });
    moveRun(run, 'cancelling', `superseded by ${action.by.name} (${action.by.id}), a newer run of the group ${run.group}`);
  }
}

const groupRow = z.object({ id: z.string(), name: z.string(), place: z.number(), state: states.run, onNewer });

/** The live runs of the group, without those that are held for another reason: nothing waits for them. */
async function readGroup(tx: Transaction, { projectId, group }: GroupKey): Promise<GroupRun[]> {
  const rows = await tx.$queryRaw<unknown[]>`
    select id, name, coalesce(group_place, 0)::float8 as place, state, on_newer as "onNewer" from run
     where project_id = ${projectId} and concurrency_group = ${group} and state in ${listOfStates(liveRunStates)}
       and (state <> 'held' or hold = 'group')`;
  return z
    .array(groupRow)
    .parse(rows)
    .map(({ state, ...run }) => ({ ...run, phase: phaseOf(state) }));
}

function phaseOf(state: RunState): GroupRun['phase'] {
  if (state === 'held') return 'waiting';
  return state === 'cancelling' ? 'stopping' : 'working';
}

/** Groups in which a program that ended too early left something to do: a run that could start or must be superseded. */
export async function unsettledGroups({ prisma }: EngineContext): Promise<GroupKey[]> {
  return prisma.$queryRaw<GroupKey[]>`
    select project_id as "projectId", concurrency_group as "group" from run
     where concurrency_group is not null and state in ${listOfStates(liveRunStates)} and (state <> 'held' or hold = 'group')
     group by 1, 2
    having count(*) filter (where state = 'held') > 1
        or (count(*) filter (where state = 'held') = 1
            and (count(*) = 1 or bool_or(on_newer = 'cancel' and state in ${listOfStates(workingRunStates)})
                 or max(group_place) filter (where state = 'held') < max(group_place) filter (where state in ${listOfStates(workingRunStates)})))
     limit 1000`;
}
