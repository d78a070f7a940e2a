import { CairnError, commitText, type ModelView, modelVersionReference } from '@cairn/contract';
import type { Registrar, Session } from '../cli.ts';
import { pullModel } from '../models/pull-model.ts';
import { tableLines } from '../output/table.ts';
import { formatAgo, formatBytes, formatInterval, formatPercent, plural } from '../output/units.ts';

export function addCatalogueCommands({ program, action }: Registrar): void {
  program.command('recipes').description('lists the recipes of the service').action(action(listRecipes));
  const recipe = program.command('recipe').description('shows a recipe');
  recipe.command('show <name>').description('prints a recipe as YAML, ready to edit and submit with -f').action(action(showRecipe));
  const models = program
    .command('models [name]')
    .description('lists the registered models, or the versions of one, with their scores')
    .action(action(listModels));
  models
    .command('pull <model>')
    .description('downloads a version, such as landmark@production: ONNX, weights as safetensors, its card; repeated, it goes on')
    .option('--out <folder>', 'the folder to create or to complete (default: NAME-VERSION)')
    .action(action(pull));
  models
    .command('card <model>')
    .description('prints the card of a version, such as landmark@production, as Markdown; with --json its data')
    .action(action(printCard));
}

async function pull({ ui, signal, client }: Session, reference: string, options: { out?: string }): Promise<undefined> {
  const api = await client();
  const card = await api.getModelCard(versionOf(reference), { signal });
  const out = options.out ?? `${card.model}-${card.version}`;
  const onFile = (path: string, isNew: boolean) => ui.note(ui.style.dim(`${path}${isNew ? '' : ' is already there'}`));
  const manifest = await pullModel({ client: api, card, out, signal, onFile });
  ui.json({ out, ...manifest });
  ui.line(`${ui.style.bold(`${card.model}@${card.version}`)}: ${plural(card.files.length, 'file')}, ${formatBytes(card.bytes)}, in ${out}`);
  for (const { name, licence } of card.startingWeights) ui.line(`Trained from ${name}: ${licence ?? 'no licence was given'}`);
  return undefined;
}

async function printCard({ ui, signal, client }: Session, text: string): Promise<undefined> {
  const api = await client();
  const reference = versionOf(text);
  if (ui.isJson) ui.json(await api.getModelCard(reference, { signal }));
  else ui.line((await api.readModelCard(reference, { signal })).trimEnd());
  return undefined;
}

function versionOf(text: string): string {
  const parsed = modelVersionReference.safeParse(text);
  if (parsed.success) return parsed.data;
  throw new CairnError('invalid_request', `${text} does not name a version of a model`, {
    details: { remedy: 'Use NAME@VERSION or NAME@ALIAS, such as landmark@production; `cairn models NAME` lists them.' },
  });
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
  const hasCommits = items.some((model) => model.source !== null);
  const hasAliases = items.some((model) => model.aliases.length > 0);
  const rows = items.map((model) => [
    ui.style.bold(model.name),
    String(model.version),
    ...(hasAliases ? [model.aliases.join(', ')] : []),
    ...scores.map((name) => percentOf(model.metrics[name]) + formatInterval(model.metrics[`${name}Low`], model.metrics[`${name}High`])),
    ...(hasCommits ? [model.source === null ? '' : commitText(model.source)] : []),
    formatAgo(model.createdAt, cli.now()),
    ui.style.dim(model.runId),
  ]);
  const columns = [
    { title: 'model' },
    { title: 'version', align: 'right' as const },
    ...(hasAliases ? [{ title: 'aliases' }] : []),
    ...scores.map((name) => ({ title: scoreTitle(name), align: 'right' as const })),
    ...(hasCommits ? [{ title: 'commit' }] : []),
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
