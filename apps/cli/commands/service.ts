import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { FleetWork } from '@cairn/contract';
import { z } from 'zod';
import type { Registrar, Session } from '../cli.ts';
import { tableLines } from '../output/table.ts';
import type { Ui } from '../output/ui.ts';
import { formatAgo, plural } from '../output/units.ts';

export function addServiceCommands({ program, action }: Registrar): void {
  program
    .command('fleet')
    .description('shows the leader and the pools: slots, busy, waiting, and what is free on each machine')
    .option('--work', 'shows who holds slots, what waits for them and why, and the queues')
    .action(action(fleet));
  program.command('version').description('prints the version').helpGroup('More:').action(action(version));
}

async function fleet({ ui, signal, client, cli }: Session, options: { work?: true }): Promise<undefined> {
  if (options.work) {
    const work = await (await client()).getFleetWork({ signal });
    ui.json(work);
    for (const line of workLines(work, ui, cli.now())) ui.line(line);
    return undefined;
  }
  const view = await (await client()).getFleet({ signal });
  ui.json(view);
  ui.line(
    view.leader === null
      ? ui.style.warn('There is no leader: nothing is started.')
      : `Leader: ${view.leader.holder} (epoch ${view.leader.epoch})`,
  );
  const rows = view.pools.map((pool) => [
    ui.style.bold(pool.name),
    pool.executor,
    String(pool.slots),
    String(pool.busy),
    String(pool.waiting),
  ]);
  const right = { align: 'right' as const };
  const columns = [
    { title: 'pool' },
    { title: 'executor' },
    { title: 'slots', ...right },
    { title: 'busy', ...right },
    { title: 'waiting', ...right },
  ];
  for (const line of tableLines(columns, rows, { heading: ui.style.dim })) ui.line(line);
  for (const { name, room } of view.pools) {
    if (room === null) continue;
    ui.line('');
    ui.line(`${ui.style.bold(name)} has room for ${plural(room.fits, 'more attempt')}:`);
    for (const sentence of room.sentences) ui.line(`  ${sentence}`);
  }
  return undefined;
}

/** Who holds slots, what waits and why, and the queues, as three tables. */
function workLines({ holders, waiting, queues }: FleetWork, { style }: Pick<Ui, 'style'>, now: Date): string[] {
  const table = (titles: readonly string[], rows: readonly (readonly string[])[], none: string): string[] =>
    rows.length === 0
      ? [none]
      : tableLines(
          titles.map((title) => ({ title })),
          rows.map((row) => [...row]),
          { heading: style.dim },
        );
  const stepOf = ({ run, step }: { run: { name: string }; step: string }): string => `${run.name}/${step}`;
  return [
    ...table(
      ['waits', 'slots', 'since', 'why'],
      waiting.map((one) => [stepOf(one), String(one.slots), formatAgo(one.since, now), one.sentence]),
      'Nothing waits for slots.',
    ),
    '',
    ...table(
      ['holds slots', 'pool', 'slots', 'since', 'where'],
      holders.map((one) => [stepOf(one), one.pool, String(one.slots), formatAgo(one.since, now), one.place ?? '']),
      'No attempt holds slots.',
    ),
    '',
    ...table(
      ['queue', 'depth', 'oldest', 'undelivered'],
      queues.map(({ name, depth, oldestAt, undelivered }) => [
        ...[name, String(depth), oldestAt === null ? '' : formatAgo(oldestAt, now), String(undelivered)],
      ]),
      '',
    ),
  ];
}

async function version({ ui }: Session): Promise<undefined> {
  const release = await releaseVersion();
  ui.json({ version: release, node: process.versions.node });
  ui.line(`cairn ${release}`);
  return undefined;
}

/** The release of this file. */
async function releaseVersion(): Promise<string> {
  const text = await readFile(join(import.meta.dirname, '..', '..', '..', 'package.json'), 'utf8');
  return z.object({ version: z.string() }).parse(JSON.parse(text)).version;
}
