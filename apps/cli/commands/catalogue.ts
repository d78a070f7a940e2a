import type { ModelView } from '@cairn/contract';
import type { Registrar, Session } from '../cli.ts';
import { tableLines } from '../output/table.ts';
import { formatAgo, formatInterval, formatPercent } from '../output/units.ts';

export function addCatalogueCommands({ program, action }: Registrar): void {
  program.command('recipes').description('lists the recipes of the service').action(action(listRecipes));
  const recipe = program.command('recipe').description('shows a recipe');
  recipe.command('show <name>').description('prints a recipe as YAML, ready to edit and submit with -f').action(action(showRecipe));
  program
    .command('models [name]')
    .description('lists the registered models, or the versions of one, with their scores')
    .action(action(listModels));
}

async function listRecipes({ ui, signal, client }: Session): Promise<undefined> {
  const { items } = await (await client()).listRecipes({ signal });
  ui.json({ items });
  const rows = items.map(({ name, stages, models, description }) => [
    ui.style.bold(name),
    models.length > 0 ? models.join(' + ') : stages.join(` ${ui.glyphs.arrow} `),
    description.split('\n')[0] ?? '',
  ]);
  for (const line of tableLines([{ title: 'name' }, { title: 'stages or models' }, { title: 'description' }], rows, {
    heading: ui.style.dim,
  }))
    ui.line(line);
  return undefined;
}

async function showRecipe({ ui, signal, client }: Session, name: string): Promise<undefined> {
  const api = await client();
  const view = await api.getRecipe(name, { signal });
  ui.json(view.recipe);
  ui.line(`# yaml-language-server: $schema=${api.url}/recipe.schema.json`);
  ui.line(view.yaml.trimEnd());
  return undefined;
}

async function listModels({ ui, signal, client, cli }: Session, name: string | undefined): Promise<undefined> {
  const api = await client();
  const items: ModelView[] = [];
  for await (const model of name === undefined ? api.eachModel({ signal }) : api.eachModelVersion(name, { signal })) items.push(model);
  ui.json({ items });
  if (items.length === 0) {
    ui.line('No models yet: the last step of a run registers one.');
    return undefined;
  }
  const metrics = new Set(items.flatMap((model) => Object.keys(model.metrics)));
  const scores = [...metrics].filter((name) => name.startsWith('mapAt') && !/(Low|High)$/.test(name));
  const hasAliases = items.some((model) => model.aliases.length > 0);
  const rows = items.map((model) => [
    ui.style.bold(model.name),
    String(model.version),
    ...(hasAliases ? [model.aliases.join(', ')] : []),
    ...scores.map((name) => percentOf(model.metrics[name]) + formatInterval(model.metrics[`${name}Low`], model.metrics[`${name}High`])),
    formatAgo(model.createdAt, cli.now()),
    ui.style.dim(model.runId),
  ]);
  const columns = [
    { title: 'model' },
    { title: 'version', align: 'right' as const },
    ...(hasAliases ? [{ title: 'aliases' }] : []),
    ...scores.map((name) => ({ title: scoreTitle(name), align: 'right' as const })),
    { title: 'created' },
    { title: 'run' },
  ];
  for (const line of tableLines(columns, rows, { heading: ui.style.dim })) ui.line(line);
  return undefined;
}

const percentOf = (value: number | undefined): string => (value === undefined ? '' : formatPercent(value));

/** `mapAt100Public` as `mAP@100 public`. */
function scoreTitle(name: string): string {
  return name.replace('mapAt', 'mAP@').replace(/[A-Z][a-z]+$/, (part) => ` ${part.toLowerCase()}`);
}
