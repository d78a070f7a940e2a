import { parseArgs } from 'node:util';
import type { LedgerGrouping } from '@cairn/contract';
import type { PrismaClient } from '@cairn/db';
import { newId } from '@cairn/runtime';
import { type ControlPlane, startControlPlane } from './control-plane.ts';
import { show } from './quantiles.ts';

/**
 * The ledger of a project with many attempts: the answers of `GET /v1/ledger` for the last month and for all, by each property, and the CSV
 * with a line for each attempt. They are spread evenly over the months; a tenth has failed, one in a hundred still runs, and a fifth
 * of the steps reused a result.
 */
const { values: options } = parseArgs({
  options: {
    attempts: { type: 'string', default: '100000' },
    months: { type: 'string', default: '1' },
    explain: { type: 'boolean', default: false },
  },
});
const attempts = Number(options.attempts);
const months = Number(options.months);
const stepsOfRun = 10;

async function fill(prisma: PrismaClient): Promise<void> {
  const { id: datasetId } = await prisma.dataset.findFirstOrThrow({ select: { id: true } });
  const stamp = newId('run').slice(4, 14);
  const id = (kind: string, n: string) => `'${kind}_${stamp}' || lpad((${n})::text, 16, '0')`;
  const runs = Math.ceil(attempts / stepsOfRun);
  const at = (n: string) => `now() - (${n})::float8 / ${runs} * interval '${30 * months} days'`;
  const insert = (sql: string) => prisma.$executeRawUnsafe(sql);
  await insert(`
    insert into run (id, project_id, owner, name, recipe_name, recipe, dataset_id, state, no_reuse, request_digest, labels, created_at)
    select ${id('run', 'n')}, 'default', 'owner-' || n % 20, 'run-' || n, 'mini', '{}', '${datasetId}', case when n % 100 = 0 then 'running' else 'succeeded' end,
           'false', '', jsonb_build_object('team', 'team-' || n % 7), ${at('n')} from generate_series(1, ${runs}) n`);
  await insert(`
    insert into step (id, run_id, position, name, kind, settings, needs, pool, slots, max_attempts, state, finished_at)
    select ${id('stp', `n * ${stepsOfRun} + s`)}, ${id('run', 'n')}, s, 'step-' || s, 'train', '{}', '[]', 'gpu', 8, 1,
           case when s = 3 then 'ready' else 'succeeded' end, ${at('n')} + interval '1 hour'
      from generate_series(1, ${runs}) n, generate_series(0, ${stepsOfRun - 1}) s`);
  await insert(`
    insert into attempt (id, run_id, step_id, ordinal, step_generation, state, pool, slots, failure, queued_at, created_at, started_at, kept_at,
                         last_contact_at, ended_at, gpu_hour_price)
    select ${id('att', `n * ${stepsOfRun} + s`)}, ${id('run', 'n')}, ${id('stp', `n * ${stepsOfRun} + s`)}, 1, 1, state, 'gpu', 8,
           case when state = 'failed' then '{"cause": "gpu", "code": "gpu_lost", "message": "an uncorrectable error"}'::jsonb end,
           begun - interval '2 minutes', begun, begun + interval '30 s', begun + interval '20 minutes', begun + interval '40 minutes',
           case when state = 'running' then null else begun + interval '41 minutes' end, 3.5
      from generate_series(1, ${runs}) n, generate_series(0, ${stepsOfRun - 1}) s
     cross join lateral (select ${at('n')} + s * interval '1 minute' as begun,
       case when n % 100 = 0 and s = 9 then 'running' when (n + s) % 10 = 0 then 'failed' else 'succeeded' end as state) a`);
  await insert(`update step set saved_gpu_ms = 8 * 2400000, saved_cost = 12 where position in (4, 5)`);
  await insert('analyze run, step, attempt');
}

async function measure({ prisma, client, cpuSeconds }: ControlPlane): Promise<void> {
  const month = { from: new Date(Date.now() - 30 * 86_400_000).toISOString() };
  const periods = { 'a month': month, ...(months > 1 ? { [`${months} months`]: { from: new Date(0).toISOString() } } : {}) };
  console.log(`${await prisma.attempt.count()} attempts of ${await prisma.run.count()} runs over ${months * 30} days`);
  for (const [period, query] of Object.entries(periods)) {
    for (const by of ['owner', 'run', 'step', 'attempt', 'pool', 'cause', 'label:team'] satisfies LedgerGrouping[]) {
      const times: number[] = [];
      const { PostgreSQL: before = 0 } = await cpuSeconds();
      for (let turn = 0; turn < 5; turn += 1) {
        const begin = performance.now();
        await client.readLedger({ ...query, by, limit: 50 });
        times.push(performance.now() - begin);
      }
      const { PostgreSQL: after = 0 } = await cpuSeconds();
      const cpu = `${((after - before) / times.length).toFixed(2)} s of processor time in PostgreSQL`;
      console.log(`ledger of ${period} by ${by}: ${show(times, 0.5)}, the slowest of five ${show(times, 1)}; ${cpu}`);
    }
  }
  const begin = performance.now();
  let first = 0;
  let [bytes, lines] = [0, 0];
  const csv = await client.readLedgerCsv({ ...month, by: 'attempt' }, { signal: AbortSignal.timeout(600_000) });
  for await (const part of csv) {
    if (bytes === 0) first = performance.now() - begin;
    bytes += part.length;
    lines += Buffer.from(part).toString('latin1').split('\n').length - 1;
  }
  console.log(
    `CSV by attempt: ${lines} lines, ${bytes} bytes in ${show([performance.now() - begin], 1)}, the first after ${show([first], 1)}`,
  );
}

const plane = await startControlPlane('postgres', 4);
try {
  // What leads would take the played runs for its own.
  await plane.killController();
  await fill(plane.prisma);
  await measure(plane);
} finally {
  await plane.close();
}
