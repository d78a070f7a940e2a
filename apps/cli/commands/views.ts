import { CairnError, type SavedView, viewPage } from '@cairn/contract';
import { Option } from 'commander';
import type { Registrar, Session } from '../cli.ts';
import { tableLines } from '../output/table.ts';
import { formatAgo } from '../output/units.ts';

export function addViews({ program, action }: Registrar): void {
  const view = program.command('view').description('pages of the dashboard with their filters, under a name');
  view.command('list', { isDefault: true }).description('lists your views, and those that others share').action(action(list));
  view
    .command('save <name> <query>')
    .description('saves or changes a view: the address of the page, or what comes after ? in it, such as state=failed&owner=anna')
    .addOption(new Option('--page <page>', 'the page, where only its query is given').choices(viewPage.options))
    .option('--share', 'everyone of the project sees it')
    .action(action(save));
  view
    .command('remove <name>')
    .description('removes a view')
    .option('--owner <name>', 'of another owner (for admins)')
    .action(action(remove));
}

async function list({ ui, signal, client, cli }: Session): Promise<undefined> {
  const { items } = await (await client()).listViews({ signal });
  ui.json({ items });
  if (items.length === 0) ui.line("No views. `cairn view save NAME 'state=failed'` saves one.");
  const rows = items.map(({ name, page, query, owner, isShared, updatedAt }) => [
    ui.style.bold(name),
    page,
    query,
    isShared ? `${owner}, shared` : owner,
    formatAgo(updatedAt, cli.now()),
  ]);
  const columns = ['name', 'page', 'query', 'owner', 'saved'].map((title) => ({ title }));
  if (rows.length > 0) for (const line of tableLines(columns, rows, { heading: ui.style.dim })) ui.line(line);
  return undefined;
}

async function save(
  { ui, signal, client }: Session,
  name: string,
  address: string,
  options: { page?: SavedView['page']; share?: true },
): Promise<undefined> {
  const { page, query } = readAddress(address, options.page);
  const { items } = await (await client()).saveView(name, { page, query, isShared: options.share === true }, { signal });
  ui.json({ items });
  ui.line(
    `View ${name} is saved${options.share === true ? ', and everyone sees it' : ''}. \`cairn runs --view\` lists the runs of a view.`,
  );
  return undefined;
}

/** The page and the query of an address; of a query alone, the page is `given`, by default `runs`. */
function readAddress(text: string, given: SavedView['page'] = 'runs'): { page: SavedView['page']; query: string } {
  const [place = '', ...rest] = text.split('?');
  if (rest.length === 0 && !URL.canParse(text) && !text.startsWith('/')) return { page: given, query: String(new URLSearchParams(text)) };
  const name = place.split('/').at(-1);
  const page = viewPage.safeParse(name);
  if (!page.success) {
    throw new CairnError('invalid_request', `${text} is not the address of a page with filters`, {
      details: { remedy: `Use that of one of these pages: ${viewPage.options.join(', ')}.` },
    });
  }
  return { page: page.data, query: String(new URLSearchParams(rest.join('?').split('#')[0])) };
}

async function remove({ ui, signal, client }: Session, name: string, { owner }: { owner?: string }): Promise<undefined> {
  const { items } = await (await client()).removeView(name, owner === undefined ? {} : { owner }, { signal });
  ui.json({ items });
  ui.line(`View ${name} is removed.`);
  return undefined;
}

/** The query of a view of runs: the caller's, else a shared one of this name. */
export async function viewOfRuns({ signal, client }: Session, name: string): Promise<string> {
  const { items } = await (await client()).listViews({ signal });
  const found = items.find((view) => view.name === name && view.page === 'runs');
  if (found !== undefined) return found.query;
  throw new CairnError('not_found', `There is no view ${name} of runs`, { details: { remedy: '`cairn view list` lists the views.' } });
}
