import type { PrismaClient } from '@cairn/db';
import { inParallel } from '@cairn/runtime';
import type { SimulatedRun } from './fleet-rows.ts';

/** Connections at once: as many as an api has. */
const connections = 8;

/**
 * What the database allows: the writes of a commit in one statement, without the api, on shards behind those of the simulation. Returns
 * commits a minute.
 */
export async function rawCommits(
  prisma: PrismaClient,
  { stepId }: SimulatedRun,
  attempts: readonly string[],
  count: number,
): Promise<number> {
  const [{ first } = { first: 0 }] = await prisma.$queryRaw<{ first: number }[]>`
    select max("index")::int + 1 as first from shard where step_id = ${stepId}`;
  const [attempt] = attempts;
  await prisma.$executeRaw`
    insert into shard (step_id, "index", from_row, count, state, attempt_id, lease_until, tries)
    select ${stepId}, ${first} + i, 0, 408, 'leased', ${attempt}, now() + interval '1 hour', 1 from generate_series(0, ${count}::int - 1) i`;
  const files = JSON.stringify(
    ['embeddings', 'metadata'].map((kind) => ({
      name: `${kind}/00000`,
      key: `staging/${attempt}/${kind}`,
      bytes: 418_000,
      sha256: '0'.repeat(64),
    })),
  );
  const hint = JSON.stringify({ topic: `run:${stepId}`, what: 'shards' });
  const began = performance.now();
  await inParallel(Array.from({ length: count }, (_, index) => first + index).values(), connections, async (index) => {
    await prisma.$executeRaw`
      with done as (
        update shard set state = 'committed', lease_until = null, rows = 408, rejected = 0, files = ${files}::jsonb, ids_sha256 = ${'0'.repeat(64)},
          seconds = '{"read": 1, "decode": 2, "infer": 3, "write": 1}', committed_at = now()
        where step_id = ${stepId} and "index" = ${index} and attempt_id = ${attempt} and state = 'leased' returning rows),
      counted as (update step set rows = step.rows + done.rows from done where id = ${stepId} returning id),
      kept as (update attempt set kept_at = now() from counted where attempt.id = ${attempt} returning attempt.id)
      select pg_notify('cairn_bench', ${hint}) from kept`;
  });
  return (count * 60_000) / (performance.now() - began);
}
