import type { AuditEntry } from '@cairn/contract';
import type { Registrar, Session } from '../cli.ts';
import { tableLines } from '../output/table.ts';
import { formatAgo } from '../output/units.ts';
import { wholeNumber } from './options.ts';

type AuditOptions = { actor?: string; action?: string; target?: string; limit: number };

export function addAudit({ program, action }: Registrar): void {
  program
    .command('audit')
    .description('lists who changed what, the newest first (for admins)')
    .option('--actor <token>', 'only of this token, by name')
    .option('--action <action>', 'only of this kind, such as run.cancel')
    .option('--target <id>', 'only about this run, token or other thing, by id or name')
    .option('--limit <count>', 'at most this many', wholeNumber(1, 10_000), 50)
    .action(action(listAudit));
}

async function listAudit({ ui, signal, client, cli }: Session, { limit, ...filter }: AuditOptions): Promise<undefined> {
  const items: AuditEntry[] = [];
  for await (const entry of (await client()).eachAuditEntry({ ...filter, limit: Math.min(limit, 200) }, { signal })) {
    items.push(entry);
    if (items.length === limit) break;
  }
  ui.json({ items });
  if (items.length === 0) {
    ui.line('No entry.');
    return undefined;
  }
  const rows = items.map(({ at, actor, action, target, address }) => [
    formatAgo(at, cli.now()),
    ui.style.bold(actor),
    action,
    target,
    ui.style.dim(address ?? ''),
  ]);
  const columns = ['when', 'token', 'action', 'target', 'address'].map((title) => ({ title }));
  for (const line of tableLines(columns, rows, { heading: ui.style.dim })) ui.line(line);
  return undefined;
}
