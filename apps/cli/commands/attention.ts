import type { AttentionItem, AttentionKind } from '@cairn/contract';
import type { Registrar, Session } from '../cli.ts';
import { formatAgo, formatCount } from '../output/units.ts';

export function addAttention({ program, action }: Registrar): void {
  program
    .command('attention')
    .description(
      'lists what needs a person: failed and held runs, held deliveries, budgets, steps that wait for long, sick nodes and attempts',
    )
    .action(action(attention));
}

/** The command that tells more about an item, or solves it. */
const commands = {
  'no-leader': () => 'cairn fleet',
  'held-run': ({ run }) => `cairn release ${run?.name}`,
  'held-delivery': ({ delivery, id }) => `cairn trigger release ${delivery?.trigger} ${id}`,
  budget: () => 'cairn budget list',
  'failed-run': ({ run }) => `cairn show ${run?.name}`,
  'waiting-step': () => 'cairn fleet --work',
  'sick-attempt': ({ run, step }) => `cairn logs ${run?.name} ${step} --follow`,
  'sick-node': () => 'cairn fleet',
} as const satisfies Record<AttentionKind, (item: AttentionItem) => string>;

async function attention({ ui, signal, client, cli }: Session): Promise<undefined> {
  const view = await (await client()).getAttention({ signal });
  ui.json(view);
  for (const item of view.items) {
    ui.line(`${item.sentence} ${ui.style.dim(`(${formatAgo(item.since, cli.now())})`)}`);
    ui.line(`  ${ui.style.accent(commands[item.kind](item))}`);
  }
  const more = view.total - view.items.length;
  if (view.total === 0) ui.line('Nothing needs you.');
  else if (more > 0) ui.note(ui.style.dim(`And ${formatCount(more)} more.`));
  return undefined;
}
