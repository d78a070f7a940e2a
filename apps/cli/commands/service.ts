import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import type { Registrar, Session } from '../cli.ts';
import { tableLines } from '../output/table.ts';
import { plural } from '../output/units.ts';

export function addServiceCommands({ program, action }: Registrar): void {
  program
    .command('fleet')
    .description('shows the leader and the pools: slots, busy, waiting, and what is free on each machine')
    .action(action(fleet));
  program.command('version').description('prints the version').helpGroup('More:').action(action(version));
}

async function fleet({ ui, signal, client }: Session): Promise<undefined> {
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

async function version({ ui }: Session): Promise<undefined> {
  const release = await releaseVersion();
  ui.json({ version: release, node: process.versions.node });
  ui.line(`cairn ${release}`);
  return undefined;
}

/** The release of this file. */
export async function releaseVersion(): Promise<string> {
  const text = await readFile(join(import.meta.dirname, '..', '..', '..', 'package.json'), 'utf8');
  return z.object({ version: z.string() }).parse(JSON.parse(text)).version;
}
