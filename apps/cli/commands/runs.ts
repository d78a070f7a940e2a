import {
  addressQuery,
  type RunListItem,
  type RunSort,
  type RunView,
  runFilter,
  runListParameters,
  runSort,
  runState,
} from '@cairn/contract';
import { Option } from 'commander';
import type { Registrar, Session } from '../cli.ts';
import { findRun } from '../find-run.ts';
import { tableLines } from '../output/table.ts';
import type { Ui } from '../output/ui.ts';
import { formatAgo, formatDuration, formatPercent, secondsBetween } from '../output/units.ts';
import { paintedRunState } from '../watch/step-text.ts';
import { collect, label, wholeNumber } from './options.ts';
import { waitForRun } from './submit.ts';
import { viewOfRuns } from './views.ts';

type ListOptions = {
  search?: string;
  state?: RunListItem['state'][];
  recipe?: string[];
  owner?: string[];
  label?: string[];
  tag?: string[];
  view?: string;
  group?: string;
  createdAfter?: string;
  sort?: RunSort;
  limit: number;
};

export function addRunCommands({ program, action }: Registrar): void {
  program
    .command('runs')
    .description('lists the runs with their progress, the best mAP@100 of their stages and evaluations, and GPU time, the newest first')
    .option('-s, --search <text>', 'only runs with this text in their name, id, recipe, owner, tags or note')
    .addOption(new Option('--state <state...>', 'only runs in one of these states').choices(runState.options))
    .option('--recipe <name...>', 'only runs of one of these recipes')
    .option('--owner <name...>', 'only runs that one of these tokens submitted')
    .option('--label <key=value>', 'only runs with this label, such as team=search (repeatable: with all of them)', label)
    .option('--tag <tag>', 'only runs with this tag (repeatable: with all of them)', collect)
    .option('--view <name>', 'the filters and the order of a saved view; the other options take precedence')
    .option('--group <name>', 'only runs of this concurrency group')
    .option('--created-after <time>', 'only newer runs, such as 2027-01-31T00:00:00Z')
    .addOption(
      new Option('--sort <key>', 'the order; with a minus sign, the newest or largest first (default: -createdAt)').choices(
        runSort.options,
      ),
    )
    .option('--limit <count>', 'at most this many', wholeNumber(1, 10_000), 20)
    .action(action(listRuns));
  program
    .command('watch <run>')
    .description('shows a run live until it is over: by name, id, or the beginning of its id')
    .action(action(watch));
  program
    .command('annotate <run>')
    .description('changes the note and the tags of a run; `cairn show` prints them, `cairn runs --tag` and `--search` find them')
    .option('--note <text>', 'in place of its note; an empty one removes it')
    .option('--tag <tag>', 'adds a tag, such as baseline (repeatable)', collect)
    .option('--untag <tag>', 'removes a tag (repeatable)', collect)
    .action(action(annotate));
  program
    .command('cancel <run>')
    .description('cancels a run; the results of its steps so far are kept')
    .option('--reason <text>', "recorded in the run's history")
    .action(action(cancel));
  program.command('release <run>').description('lets a held run start (for admins)').action(action(release));
  program
    .command('retry <run>')
    .description('runs the failed and cancelled steps of a run again')
    .option('--from <step>', 'runs this step and all that depend on it again')
    .option('--rejected', 'also reads the images again that extractions left out, and only these')
    .option('-w, --wait', "shows the run until it is over; the exit code is the run's")
    .action(action(retry));
}

async function listRuns(session: Session, options: ListOptions): Promise<undefined> {
  const { ui, signal, client, cli } = session;
  const items: RunListItem[] = [];
  const view = options.view === undefined ? {} : runFilter.parse(addressQuery(await viewOfRuns(session, options.view)));
  const query = {
    ...runListParameters(view, cli.now().getTime()),
    limit: Math.min(options.limit, 200),
    ...(options.sort === undefined ? {} : { sort: options.sort }),
    ...(options.search === undefined ? {} : { q: options.search }),
    ...(options.state === undefined ? {} : { state: options.state }),
    ...(options.recipe === undefined ? {} : { recipe: options.recipe }),
    ...(options.owner === undefined ? {} : { owner: options.owner }),
    ...(options.label === undefined ? {} : { label: options.label }),
    ...(options.tag === undefined ? {} : { tag: options.tag }),
    ...(options.group === undefined ? {} : { group: options.group }),
    ...(options.createdAfter === undefined ? {} : { createdAfter: options.createdAfter }),
  };
  let hasMore = false;
  for await (const run of (await client()).eachRun(query, { signal })) {
    hasMore = items.length === options.limit;
    if (hasMore) break;
    items.push(run);
  }
  ui.json({ items, hasMore });
  if (items.length === 0) ui.line('No runs. `cairn submit --recipe mini` submits one.');
  else for (const line of runTable(items, ui, cli.now())) ui.line(line);
  if (hasMore) ui.note(ui.style.dim(`There are more: --limit ${options.limit * 5} shows them.`));
  return undefined;
}

/** Runs as a table. */
function runTable(runs: readonly RunListItem[], { style }: Pick<Ui, 'style'>, now: Date): string[] {
  const rows = runs.map((run) => [
    style.bold(run.name),
    paintedRunState(run.state, { style }) +
      (run.verdict === 'failed' || run.verdict === 'inconclusive' ? style.bad(` (gate ${run.verdict})`) : ''),
    `${run.steps.done}/${run.steps.total}`,
    run.state === 'running' ? formatPercent(run.share, 0) : '',
    run.mapAt100.best === null ? '' : formatPercent(run.mapAt100.best),
    run.gpuSeconds === 0 ? '' : (run.gpuSeconds / 3600).toFixed(1),
    run.recipe,
    run.dataset,
    run.startedAt === null ? '' : formatDuration(secondsBetween(run.startedAt, run.finishedAt, now)),
    formatAgo(run.createdAt, now),
    style.dim(run.id),
  ]);
  const columns = [
    { title: 'name' },
    { title: 'state' },
    { title: 'steps', align: 'right' as const },
    { title: 'done', align: 'right' as const },
    { title: 'best mAP@100', align: 'right' as const },
    { title: 'GPU-hours', align: 'right' as const },
    { title: 'recipe' },
    { title: 'dataset' },
    { title: 'time', align: 'right' as const },
    { title: 'submitted', align: 'right' as const },
    { title: 'id' },
  ];
  return tableLines(columns, rows, { heading: style.dim });
}

async function watch(session: Session, text: string): Promise<number> {
  const client = await session.client();
  return waitForRun(session, client, await findRun(client, text, session.signal));
}

type AnnotateOptions = { note?: string; tag?: string[]; untag?: string[] };

async function annotate({ ui, signal, client }: Session, text: string, { note, tag, untag }: AnnotateOptions): Promise<undefined> {
  const api = await client();
  const { id } = await findRun(api, text, signal);
  const change = {
    ...(note === undefined ? {} : { note }),
    ...(tag === undefined ? {} : { addTags: tag }),
    ...(untag === undefined ? {} : { removeTags: untag }),
  };
  const run = await api.annotateRun(id, change, { signal });
  ui.json(run);
  for (const line of [ui.style.bold(run.name), ...noteLines(run)]) ui.line(line);
  return undefined;
}

/** The tags and the note of a run. */
export function noteLines({ tags, note }: Pick<RunView, 'tags' | 'note'>): string[] {
  return [
    ...(tags.length === 0 ? [] : [`  tags      ${tags.join(', ')}`]),
    ...(note === null
      ? []
      : note.text.split('\n').map((line, index) => `  ${index === 0 ? `note      ${note.by}: ` : '          '}${line}`)),
  ];
}

async function cancel({ ui, signal, client }: Session, text: string, options: { reason?: string }): Promise<undefined> {
  const api = await client();
  const { id } = await findRun(api, text, signal);
  const run = await api.cancelRun(id, options.reason === undefined ? {} : { reason: options.reason }, { signal });
  ui.json(run);
  ui.line(`${ui.style.bold(run.name)} ${paintedRunState(run.state, ui)}`);
  return undefined;
}

async function release({ ui, signal, client }: Session, text: string): Promise<undefined> {
  const api = await client();
  const { id } = await findRun(api, text, signal);
  const run = await api.releaseRun(id, { signal });
  ui.json(run);
  ui.line(`${ui.style.bold(run.name)} ${paintedRunState(run.state, ui)}`);
  return undefined;
}

async function retry(
  session: Session,
  text: string,
  options: { from?: string; rejected?: true; wait?: true },
): Promise<number | undefined> {
  const { ui, signal } = session;
  const client = await session.client();
  const { id } = await findRun(client, text, signal);
  const run = await client.retryRun(
    id,
    { ...(options.from === undefined ? {} : { from: options.from }), ...(options.rejected && { rejected: true }) },
    { signal },
  );
  if (options.wait) return waitForRun(session, client, run);
  ui.json(run);
  ui.line(`${ui.style.bold(run.name)} ${paintedRunState(run.state, ui)} again`);
  ui.note(ui.style.dim(`Watch it with \`cairn watch ${run.name}\`.`));
  return undefined;
}
