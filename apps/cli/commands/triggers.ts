import type { CairnClient } from '@cairn/client';
import {
  CairnError,
  deliveryOutcome,
  filterText,
  type HookProvider,
  hookProvider,
  labelsOf,
  recipeNameOf,
  submissionLines,
  type TriggerView,
  triggerGroupText,
} from '@cairn/contract';
import { Option } from 'commander';
import type { Registrar, Session } from '../cli.ts';
import { tableLines } from '../output/table.ts';
import { formatAgo, plural } from '../output/units.ts';
import { parseSetOptions, readRecipe } from '../recipe/read-recipe.ts';
import { type GateOptions, gateOf, noteMissingBaseline, withRunGate } from './gate.ts';
import { collect, positiveNumber, wholeNumber } from './options.ts';

export function addTriggers({ program, action }: Registrar): void {
  const trigger = program.command('trigger').description('starts runs when a code host, or another program, delivers an event');
  const added = trigger
    .command('add <name>')
    .description('adds a trigger and prints its secret, once')
    .addOption(new Option('--provider <provider>', 'who delivers').choices(hookProvider.options).makeOptionMandatory())
    .option('-f, --file <recipe.yaml>', 'a recipe as YAML; - reads it from stdin')
    .option('-r, --recipe <name>', 'a recipe of the service, such as mini')
    .option('-d, --dataset <name>', "name or name@version (default: the recipe's own)")
    .option('-s, --set <path=value>', 'overrides a setting (repeatable)', collect)
    .option('-u, --until <steps>', 'only these steps and those they need')
    .option('--priority <number>', 'higher runs first, -100 to 100', wholeNumber(-100, 100))
    .option('--label <key=value>', 'a label of its runs (repeatable)', collect)
    .option('--event <event>', 'push, tag, pull_request, or another of the provider standard (repeatable; default: push)', collect)
    .option('--branch <pattern>', 'only these branches, such as main or "release/**" (repeatable)', collect)
    .option('--tag <pattern>', 'only these tags, such as "v*" (repeatable)', collect)
    .option('--path <pattern>', 'only pushes that change such a file (repeatable)', collect)
    .option('--pull-request-label <label>', 'only pull requests with such a label (repeatable)', collect)
    .option('--group <name>', 'the concurrency group, with {trigger}, {repository}, {event}, {subject} (default: {trigger}-{subject})')
    .option('--no-group', 'its runs do not wait for each other')
    .addOption(new Option('--on-newer <policy>', 'what happens to a run when a newer one enters its group').choices(['queue', 'cancel']));
  withRunGate(added).action(action(add));
  trigger.command('list', { isDefault: true }).description('lists the triggers').action(action(list));
  trigger.command('show <trigger>').description('shows a trigger').action(action(show));
  trigger.command('remove <trigger>').description('removes a trigger with its deliveries; its runs stay').action(action(remove));
  trigger
    .command('rotate <trigger>')
    .description('makes a new secret and prints it, once')
    .option('--keep-hours <hours>', 'accepts the earlier secret for this long, 0 to 168', positiveNumber, 24)
    .action(action(rotate));
  trigger
    .command('deliveries <trigger>')
    .description('lists what was delivered in the last week, newest first')
    .addOption(new Option('--outcome <outcome>', 'only these').choices(deliveryOutcome.options))
    .option('--limit <number>', 'how many', wholeNumber(1, 10_000), 20)
    .action(action(deliveries));
  trigger
    .command('release <trigger> <delivery>')
    .description('starts the run of a held delivery, such as of a fork')
    .action(action(release));
}

type AddOptions = GateOptions & {
  provider: HookProvider;
  file?: string;
  recipe?: string;
  dataset?: string;
  set?: string[];
  until?: string;
  priority?: number;
  label?: string[];
  event?: string[];
  branch?: string[];
  tag?: string[];
  path?: string[];
  pullRequestLabel?: string[];
  /** False with --no-group. */
  group?: string | false;
  onNewer?: 'queue' | 'cancel';
};

async function add(session: Session, name: string, options: AddOptions): Promise<undefined> {
  const { ui, signal, client, cli } = session;
  const { provider, file, dataset, set, until, priority, label, event, branch, tag, path, pullRequestLabel, group, onNewer } = options;
  if ((file === undefined) === (options.recipe === undefined)) {
    throw new CairnError('invalid_request', 'Give either --recipe NAME or --file RECIPE.yaml', {
      details: { remedy: '`cairn recipes` lists those of the service.' },
    });
  }
  const api = await client();
  const run = {
    recipe: file === undefined ? (options.recipe ?? '') : await readRecipe(file, cli.stdin, signal),
    set: parseSetOptions(set ?? []),
    labels: labelsOf(label ?? []),
    ...(dataset === undefined ? {} : { dataset }),
    ...(until === undefined ? {} : { until: until.split(',') }),
    ...(priority === undefined ? {} : { priority }),
    ...gateOf(options),
  };
  const made = await api.addTrigger(
    {
      name,
      provider,
      run,
      filter: {
        ...(event === undefined ? {} : { events: event }),
        ...{ branches: branch ?? [], tags: tag ?? [], paths: path ?? [], labels: pullRequestLabel ?? [] },
      },
      ...(group === undefined ? {} : { group: group === false ? null : group }),
      ...(onNewer === undefined ? {} : { onNewer }),
    },
    { signal },
  );
  ui.json(made);
  // Only the secret on stdout, for a script that gives it to the code host.
  ui.line(made.secret);
  ui.note(ui.style.dim(`Trigger ${made.name}. Its secret is not shown again. Deliveries go to ${api.url}${made.path}`));
  await noteMissingBaseline(session, run);
  return undefined;
}

async function list({ ui, signal, client, cli }: Session): Promise<undefined> {
  const items: TriggerView[] = [];
  for await (const item of (await client()).eachTrigger({ signal })) items.push(item);
  ui.json({ items });
  if (items.length === 0) {
    ui.line('There are no triggers: `cairn trigger add NAME --provider github --recipe RECIPE` adds one.');
    return undefined;
  }
  const now = cli.now();
  const rows = items.map((item) => [
    ui.style.bold(item.name),
    item.provider,
    recipeNameOf(item.run),
    item.filter.events.join(', '),
    item.owner,
    item.lastDeliveryAt === null ? 'never' : formatAgo(item.lastDeliveryAt, now),
  ]);
  const columns = ['name', 'provider', 'recipe', 'events', 'owner', 'last delivery'].map((title) => ({ title }));
  for (const line of tableLines(columns, rows, { heading: ui.style.dim })) ui.line(line);
  return undefined;
}

async function show({ ui, signal, client, cli }: Session, name: string): Promise<undefined> {
  const api = await client();
  const view = await api.getTrigger(name, { signal });
  ui.json(view);
  const { filter, run } = view;
  const lines: [string, string][] = [
    ['address', `${api.url}${view.path}`],
    ['provider', view.provider],
    ...submissionLines(run),
    ['filter', filterText(filter)],
    ['group', triggerGroupText(view)],
    ['owner', view.owner],
    ['last delivery', view.lastDeliveryAt === null ? 'never' : formatAgo(view.lastDeliveryAt, cli.now())],
  ];
  ui.line(ui.style.bold(view.name));
  for (const [what, text] of lines) ui.line(`  ${ui.style.dim(what.padEnd(14))}${text}`);
  return undefined;
}

async function remove({ ui, signal, client }: Session, name: string): Promise<undefined> {
  await (await client()).removeTrigger(name, { signal });
  ui.json({ removed: name });
  ui.line(`Trigger ${name} removed.`);
  return undefined;
}

async function rotate({ ui, signal, client }: Session, name: string, { keepHours }: { keepHours: number }): Promise<undefined> {
  const made = await (await client()).rotateTrigger(name, { keepHours }, { signal });
  ui.json(made);
  ui.line(made.secret);
  ui.note(
    ui.style.dim(
      `The new secret of trigger ${name}. It is not shown again; ${keepHours === 0 ? 'the earlier one is no longer accepted' : `the earlier one is accepted for ${plural(keepHours, 'hour')}`}.`,
    ),
  );
  return undefined;
}

async function deliveries(
  { ui, signal, client, cli }: Session,
  name: string,
  { outcome, limit }: { outcome?: TriggerOutcome; limit: number },
): Promise<undefined> {
  const api = await client();
  const items = [];
  for await (const item of api.eachDelivery(name, outcome === undefined ? {} : { outcome }, { signal })) {
    items.push(item);
    if (items.length === limit) break;
  }
  ui.json({ items });
  if (items.length === 0) {
    ui.line(`Nothing was delivered to ${name} in the last week.`);
    return undefined;
  }
  const now = cli.now();
  const rows = items.map((item) => [
    formatAgo(item.receivedAt, now),
    item.outcome === 'refused' || item.outcome === 'failed' ? ui.style.warn(item.outcome) : item.outcome,
    item.repeats === 0 ? '' : String(item.repeats),
    item.reason,
    ui.style.dim(item.runId ?? item.id),
  ]);
  const columns = [
    { title: 'when' },
    { title: 'outcome' },
    { title: 'repeats', align: 'right' as const },
    { title: 'why' },
    { title: 'run, or delivery' },
  ];
  for (const line of tableLines(columns, rows, { heading: ui.style.dim })) ui.line(line);
  return undefined;
}

/** A run that a budget or its group holds has not started. */
async function startedText(api: CairnClient, runId: string, signal: AbortSignal): Promise<string> {
  const run = await api.getRun(runId, { signal });
  return run.state === 'held' ? `Run ${run.name} is held${run.cause === null ? '' : `: ${run.cause}`}.` : `Run ${run.name} started.`;
}

type TriggerOutcome = (typeof deliveryOutcome.options)[number];

async function release({ ui, signal, client }: Session, name: string, delivery: string): Promise<undefined> {
  const api = await client();
  const answer = await api.releaseDelivery(name, delivery, { signal });
  ui.json(answer);
  ui.line(
    answer.runId === null ? `Delivery ${delivery} is ${answer.outcome}: ${answer.reason}` : await startedText(api, answer.runId, signal),
  );
  return undefined;
}
