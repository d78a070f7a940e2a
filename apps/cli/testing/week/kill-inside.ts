import type { Harness } from '@cairn/engine/testing';
import { waitFor } from '@cairn/testing';
import { z } from 'zod';

/** A change of a row that a program makes: the program is killed while it makes it. */
export type Change = {
  /** In words, after "a program that". */
  name: string;
  table: string;
  on: 'insert' | 'update';
  /** SQL about the row `new`, and `old` of an update. */
  when: string;
};

type Program = { kill(): Promise<void>; replace(): Promise<void> };

/** The first of the keys of the locks at which changes wait, one for each. */
const firstKey = 1_902_000;
const limitMs = 240_000;
const waiting = z.array(z.object({ key: z.number().int() }));

/**
 * Kills a program inside each of these changes, in the order in which it comes to them. The database lets the statement wait that makes the
 * change; when its program is dead, the statement goes on, and the transaction that it was a part of is rolled back. A statement that stood
 * alone is kept. Each change is waited for once: the program that replaces the dead one makes it.
 *
 * @param work leads to the changes
 * @throws Error that names the changes to which no program came
 */
export async function killInside(
  { prisma }: Pick<Harness, 'prisma'>,
  changes: readonly Change[],
  { kill, replace }: Program,
  work: () => Promise<void>,
): Promise<void> {
  const left = new Map(changes.map((change, index) => [firstKey + index, change]));
  const names = [...left].map(([key, { table }]) => ({ key, table, trigger: `wait_inside_${key}` }));
  await prisma.$executeRawUnsafe(`create or replace function wait_inside() returns trigger language plpgsql as $$
    begin perform pg_advisory_xact_lock_shared(tg_argv[0]::bigint); return new; end $$`);
  const nextKey = async (): Promise<number | null> => {
    const rows = await prisma.$queryRawUnsafe(`select objid::int4 as key from pg_locks
      where locktype = 'advisory' and not granted and objid between ${firstKey} and ${firstKey + changes.length - 1}`);
    return waiting.parse(rows).find(({ key }) => left.has(key))?.key ?? null;
  };
  let working = Promise.resolve();
  try {
    await prisma.$transaction(
      async (tx) => {
        // Of the connection, so that one lock can be given back before the others; all end with the last.
        for (const key of left.keys()) await tx.$executeRawUnsafe(`select pg_advisory_lock(${key})`);
        try {
          for (const { key, trigger, table } of names) {
            const { on, when } = left.get(key) as Change;
            await prisma.$executeRawUnsafe(
              `create trigger ${trigger} before ${on} on "${table}" for each row when (${when}) execute function wait_inside(${key})`,
            );
          }
          working = work();
          // It is awaited below; until then a failure shows in what does not come.
          working.catch(() => undefined);
          while (left.size > 0) {
            const missing = [...left.values()].map(({ name }) => name).join(', or ');
            const key = await waitFor(nextKey, { timeoutMs: limitMs, message: `a program that ${missing}` });
            await kill();
            left.delete(key);
            await tx.$executeRawUnsafe(`select pg_advisory_unlock(${key})`);
            await replace();
          }
        } finally {
          await tx.$executeRawUnsafe('select pg_advisory_unlock_all()');
        }
      },
      { timeout: 10 * limitMs, maxWait: 10_000 },
    );
    await working;
  } finally {
    for (const { trigger, table } of names) await prisma.$executeRawUnsafe(`drop trigger if exists ${trigger} on "${table}"`);
  }
}
