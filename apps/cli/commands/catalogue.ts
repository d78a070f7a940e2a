import { type AliasMoveView, type AliasView, CairnError, commitText, type ModelView, modelVersionReference } from '@cairn/contract';
import { InvalidArgumentError } from 'commander';
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
    .description('downloads a version, such as landmark@production: ONNX, weights as safetensors, its card; when run again, it continues')
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
  if (card.matcher !== null) ui.line(`Evaluated with the matcher ${card.matcher.name}: ${card.matcher.licence ?? 'no licence was given'}`);
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

export function addAliasCommands({ program, action }: Registrar): void {
  const alias = program.command('alias').description('names of model versions that move, such as production, and their history');
  alias.command('list <model>').description('lists the aliases of a model').action(action(list));
  const reason = ['--reason <text>', 'why; kept in the history'] as const;
  alias
    .command('set <alias> <model@version>')
    .description('lets an alias name a version of a model')
    .requiredOption(...reason)
    .option('--if-version <version>', 'only if it names this version now; none: only if it does not exist', versionOrNone)
    .action(action(set));
  alias
    .command('rollback <model@alias>')
    .description('lets an alias name the version that it named before')
    .requiredOption(...reason)
    .action(action(rollBack));
  alias
    .command('remove <model@alias>')
    .description('removes an alias; its history stays')
    .requiredOption(...reason)
    .action(action(remove));
  alias.command('history <model@alias>').description('lists the changes of an alias, newest first').action(action(history));
}

async function list({ ui, signal, client, cli }: Session, model: string): Promise<undefined> {
  const { items } = await (await client()).listAliases(model, { signal });
  ui.json({ items });
  if (items.length === 0) ui.line(`${model} has no aliases: \`cairn alias set production ${model}@VERSION --reason ...\` adds one.`);
  else printAliases(ui, items, cli.now());
  return undefined;
}

async function set(
  { ui, signal, client }: Session,
  alias: string,
  reference: string,
  { reason, ifVersion }: { reason: string; ifVersion?: number | 'none' },
): Promise<undefined> {
  const [model, version] = partsOf(reference, 'version');
  if (!/^[0-9]{1,9}$/.test(version)) throw wrongReference(reference, 'version');
  const change = {
    version: Number(version),
    reason,
    ...(ifVersion === undefined ? {} : { ifVersion: ifVersion === 'none' ? null : ifVersion }),
  };
  const { items } = await (await client()).setAlias(model, alias, change, { signal });
  ui.json({ items });
  ui.line(`${model}@${alias} names version ${Number(version)}.`);
  return undefined;
}

async function rollBack({ ui, signal, client }: Session, reference: string, { reason }: { reason: string }): Promise<undefined> {
  const [model, alias] = partsOf(reference, 'alias');
  const { items } = await (await client()).rollBackAlias(model, alias, { reason }, { signal });
  ui.json({ items });
  const now = items.find((item) => item.alias === alias);
  ui.line(`${model}@${alias} names version ${now?.version ?? '?'} again.`);
  return undefined;
}

async function remove({ ui, signal, client }: Session, reference: string, { reason }: { reason: string }): Promise<undefined> {
  const [model, alias] = partsOf(reference, 'alias');
  const { items } = await (await client()).removeAlias(model, alias, { reason }, { signal });
  ui.json({ items });
  ui.line(`${model}@${alias} is removed.`);
  return undefined;
}

async function history({ ui, signal, client, cli }: Session, reference: string): Promise<undefined> {
  const [model, alias] = partsOf(reference, 'alias');
  const api = await client();
  const items: AliasMoveView[] = [];
  for await (const move of api.eachAliasMove(model, alias, { signal })) items.push(move);
  ui.json({ items });
  if (items.length === 0) {
    ui.line(`${model}@${alias} has never existed.`);
    return undefined;
  }
  const rows = items.map((move) => [
    formatAgo(move.movedAt, cli.now()),
    move.action,
    move.fromVersion === null ? '' : String(move.fromVersion),
    move.toVersion === null ? '' : String(move.toVersion),
    move.movedBy,
    move.reason,
  ]);
  const columns = [
    { title: 'when' },
    { title: 'change' },
    { title: 'from', align: 'right' as const },
    { title: 'to', align: 'right' as const },
    { title: 'by' },
    { title: 'reason' },
  ];
  for (const line of tableLines(columns, rows, { heading: ui.style.dim })) ui.line(line);
  return undefined;
}

function printAliases(ui: Session['ui'], items: readonly AliasView[], now: Date): void {
  const rows = items.map(({ alias, version, movedAt, movedBy, reason }) => [
    ui.style.bold(alias),
    String(version),
    formatAgo(movedAt, now),
    movedBy,
    reason,
  ]);
  const columns = [
    { title: 'alias' },
    { title: 'version', align: 'right' as const },
    { title: 'since' },
    { title: 'by' },
    { title: 'reason' },
  ];
  for (const line of tableLines(columns, rows, { heading: ui.style.dim })) ui.line(line);
}

function partsOf(reference: string, wanted: 'version' | 'alias'): [string, string] {
  const [model = '', part = '', ...more] = reference.split('@');
  if (model === '' || part === '' || more.length > 0) throw wrongReference(reference, wanted);
  return [model, part];
}

function wrongReference(reference: string, wanted: 'version' | 'alias'): CairnError {
  const example = wanted === 'version' ? 'landmark@3' : 'landmark@production';
  return new CairnError('invalid_request', `"${reference}" is not a model with its ${wanted}, such as ${example}`, {
    details: { remedy: '`cairn models` lists the models, `cairn models NAME` the versions of one.' },
  });
}

/** Not null for none: commander takes it for an option without a value. */
function versionOrNone(text: string): number | 'none' {
  if (text === 'none') return text;
  if (/^[0-9]{1,9}$/.test(text)) return Number(text);
  throw new InvalidArgumentError('Expected the number of a version, or none.');
}
