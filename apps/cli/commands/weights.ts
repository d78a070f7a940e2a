import type { WeightsView } from '@cairn/contract';
import type { Registrar, Session } from '../cli.ts';
import { tableLines } from '../output/table.ts';
import { formatAgo, formatBytes } from '../output/units.ts';

export function addWeights({ program, action }: Registrar): void {
  const weights = program.command('weights').description('lists and removes imported weights');
  weights.command('list', { isDefault: true }).description('lists the imported weights by their names in recipes').action(action(list));
  weights
    .command('remove <name>')
    .description('removes weights from the list, those of other users as an admin; `cairn gc` removes the file when no run refers to it')
    .action(action(remove));
}

async function list({ ui, signal, client, cli }: Session): Promise<undefined> {
  const items: WeightsView[] = [];
  for await (const one of (await client()).eachWeights({ signal })) items.push(one);
  ui.json({ items });
  if (items.length === 0) {
    ui.line('No weights. `cairn import weights FILE --backbone NAME` imports some.');
    return undefined;
  }
  const rows = items.map(({ name, content, backbone, extent, sha256, bytes, licence, createdAt }) => [
    ui.style.bold(name),
    content === 'matcher' ? 'matcher' : content === 'model' ? 'whole model' : extent === 'all' ? 'backbone' : 'backbone without SE',
    content === 'matcher' ? '' : backbone,
    formatBytes(bytes),
    licence ?? '',
    formatAgo(createdAt, cli.now()),
    ui.style.dim(sha256.slice(0, 16)),
  ]);
  const columns = [
    { title: 'name' },
    { title: 'holds' },
    { title: 'backbone' },
    { title: 'size', align: 'right' as const },
    { title: 'licence' },
    { title: 'imported' },
    { title: 'sha256' },
  ];
  for (const line of tableLines(columns, rows, { heading: ui.style.dim })) ui.line(line);
  return undefined;
}

async function remove({ ui, signal, client }: Session, name: string): Promise<undefined> {
  await (await client()).removeWeights(name, { signal });
  ui.json({ removed: name });
  ui.line(`Weights ${name} removed from the list; runs that were submitted with them keep them.`);
  return undefined;
}
