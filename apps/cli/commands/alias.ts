import { type AliasMoveView, type AliasView, CairnError } from '@cairn/contract';
import { InvalidArgumentError } from 'commander';
import type { Registrar, Session } from '../cli.ts';
import { tableLines } from '../output/table.ts';
import { formatAgo } from '../output/units.ts';

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
  { reason, ifVersion }: { reason: string; ifVersion?: number | null },
): Promise<undefined> {
  const [model, version] = partsOf(reference, 'version');
  if (!/^[0-9]{1,9}$/.test(version)) throw wrongReference(reference, 'version');
  const change = { version: Number(version), reason, ...(ifVersion === undefined ? {} : { ifVersion }) };
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

function versionOrNone(text: string): number | null {
  if (text === 'none') return null;
  if (/^[0-9]{1,9}$/.test(text)) return Number(text);
  throw new InvalidArgumentError('Expected the number of a version, or none.');
}
