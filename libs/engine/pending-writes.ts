import { isDeepStrictEqual } from 'node:util';
import type { StepState } from '@cairn/contract';
import { hintChannel, type Prisma, runChannel, type Transaction, wakeChannel } from '@cairn/db';

/**
 * What a command decided and has not written yet. A command moves many steps and tells of each; written one by one, these
 * statements were most of its time. Written together, steps that change alike are one statement, and so are all events.
 */
export type PendingWrites = {
  /** By step: the state it had in the table, and the columns that change. */
  steps: Map<string, { from: StepState; columns: StepColumns }>;
  run: RunColumns;
  events: Prisma.EventCreateManyInput[];
  outbox: Prisma.OutboxCreateManyInput[];
};

export type StepColumns = Omit<Prisma.StepUncheckedUpdateManyInput, 'id' | 'runId'>;
export type RunColumns = Omit<Prisma.RunUncheckedUpdateManyInput, 'id' | 'seq'>;

export const noWrites = (): PendingWrites => ({ steps: new Map(), run: {}, events: [], outbox: [] });

/** Writes what is pending, in at most one statement for each kind of change, and forgets it. `seq` is the run's newest event. */
export async function writePending(tx: Transaction, run: { id: string; seq: number }, pending: PendingWrites): Promise<void> {
  const { steps, run: columns, events, outbox } = pending;
  Object.assign(pending, noWrites());
  for (const { ids, from, columns: data } of alike(steps)) {
    const { count } = await tx.step.updateMany({ where: { id: { in: ids }, state: from }, data });
    if (count !== ids.length) throw new Error(`steps of run ${run.id} were changed beside its lock`);
  }
  if (outbox.length > 0) await tx.outbox.createMany({ data: outbox });
  if (events.length > 0) await tx.event.createMany({ data: events });
  if (events.length > 0 || Object.keys(columns).length > 0)
    await tx.run.updateMany({ where: { id: run.id }, data: { ...columns, seq: run.seq } });
  if (events.length > 0) await announce(tx, run);
}

/** Steps that change alike, together. */
function alike(steps: PendingWrites['steps']): { ids: string[]; from: StepState; columns: StepColumns }[] {
  const groups: { ids: string[]; from: StepState; columns: StepColumns }[] = [];
  for (const [id, { from, columns }] of steps) {
    const group = groups.find((candidate) => candidate.from === from && isDeepStrictEqual(candidate.columns, columns));
    if (group) group.ids.push(id);
    else groups.push({ ids: [id], from, columns });
  }
  return groups;
}

/** Tells the leader and every api replica, when the transaction commits. */
async function announce(tx: Transaction, { id, seq }: { id: string; seq: number }): Promise<void> {
  await tx.$executeRaw`
    select pg_notify(${runChannel}, ${JSON.stringify({ runId: id, seq })}),
           pg_notify(${hintChannel}, ${JSON.stringify({ topic: 'runs', runId: id, what: 'run' })}), pg_notify(${wakeChannel}, '')`;
}
