import { checkpointFate } from '@cairn/contract';
import type { Registrar, Session } from '../cli.ts';
import { findRun, findStep } from '../find-run.ts';
import { tableLines } from '../output/table.ts';
import { formatAgo, formatBytes, formatCount } from '../output/units.ts';

export function addCheckpoints({ program, action }: Registrar): void {
  program
    .command('checkpoints <run> <step>')
    .description('lists the checkpoints of a training stage, newest first: when each was stored and verified, and what became of its file')
    .action(action(checkpoints));
}

async function checkpoints({ ui, signal, client, cli }: Session, text: string, name: string): Promise<undefined> {
  const api = await client();
  const run = await api.getRun((await findRun(api, text, signal)).id, { signal });
  const step = findStep(run, name);
  const list = await api.listCheckpoints(run.id, name, { signal });
  ui.json(list);
  if (list.total === 0) {
    const { reusedFrom, kind, state } = step;
    if (reusedFrom !== null)
      ui.note(`${name} was reused: its checkpoints are those of \`cairn checkpoints ${reusedFrom.runName} ${name}\`.`);
    else ui.note(kind === 'train' ? `${name} has no checkpoint: it is ${state}.` : `${name} has no checkpoints: it trains nothing.`);
    return undefined;
  }
  const now = cli.now();
  const right = { align: 'right' as const };
  const columns = [
    ...[
      { title: 'step', ...right },
      { title: 'epoch', ...right },
      { title: 'size', ...right },
      { title: 'attempt', ...right },
    ],
    ...[{ title: 'stored' }, { title: 'verified' }, { title: 'file' }],
  ];
  const rows = list.items.map((one) => [
    ...[formatCount(one.step), one.epoch.toFixed(2), formatBytes(one.bytes), String(one.ordinal)],
    ...[formatAgo(one.createdAt, now), one.verifiedAt === null ? 'not yet' : formatAgo(one.verifiedAt, now), checkpointFate(one)],
  ]);
  for (const line of tableLines(columns, rows, { heading: ui.style.dim })) ui.line(line);
  if (list.total > list.items.length) ui.note(ui.style.dim(`The newest ${formatCount(list.items.length)} of ${formatCount(list.total)}.`));
  return undefined;
}
