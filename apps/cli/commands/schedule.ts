import {
  CairnError,
  type OverlapPolicy,
  overlapPolicy,
  type ScheduleRequestInput,
  type ScheduleView,
  scheduleText,
  submissionLines,
  timeInZone,
} from '@cairn/contract';
import { Option } from 'commander';
import type { Registrar, Session } from '../cli.ts';
import { tableLines } from '../output/table.ts';
import type { Ui } from '../output/ui.ts';
import { formatAgo, plural } from '../output/units.ts';
import { readRecipe } from '../recipe/read-recipe.ts';
import { noteMissingBaseline, withRunGate } from './gate.ts';
import { type ContextOptions, labelsAndGroup, type SubmissionOptions, submissionOf, withLabels, withRecipe } from './submit.ts';

type AddOptions = SubmissionOptions &
  Omit<ContextOptions, 'onNewer'> & { cron?: string; zone: string; onDataset?: string; overlap: OverlapPolicy };

export function addScheduleCommands({ program, action }: Registrar): void {
  const schedule = program.command('schedule').description('starts runs at times, or for new versions of a dataset');
  const add = schedule
    .command('add <name>')
    .description('adds a schedule; its runs are submitted in your name')
    .option('--cron <expression>', 'minute, hour, day of the month, month, day of the week: "0 3 * * 1" is Mondays at 3:00')
    .option('--zone <name>', 'the time zone, such as Europe/Zurich', 'UTC')
    .option('--on-dataset <name>', 'in place of --cron: each new version of this dataset starts a run with it')
    .addOption(
      new Option('--overlap <policy>', 'if the earlier run is not over: leave the new one out, let it wait, or cancel the earlier one')
        .choices(overlapPolicy.options)
        .default('queue'),
    );
  withLabels(withRunGate(withRecipe(add)), "a concurrency group (default: the schedule's name)").action(action(addOne));
  schedule.command('list', { isDefault: true }).description('lists the schedules').action(action(list));
  schedule
    .command('show <name>')
    .description('shows a schedule, its next five times, and the outcome of its last run')
    .action(action(show));
  schedule.command('pause <name>').description('starts nothing until it is resumed').action(action(pause));
  schedule.command('resume <name>').description('continues with the next time').action(action(resume));
  schedule.command('run-now <name>').description('starts its run now, in your name').action(action(runNow));
  schedule.command('remove <name>').description('removes a schedule; its runs stay').action(action(remove));
}

async function addOne(session: Session, name: string, options: AddOptions): Promise<undefined> {
  const { ui, signal, cli } = session;
  const { cron, zone, onDataset, overlap } = options;
  if ((cron === undefined) === (onDataset === undefined)) {
    const what = cron === undefined ? 'The schedule says neither when nor for what it starts' : '--cron and --on-dataset are both given';
    throw new CairnError('invalid_request', what, { details: { remedy: 'Use either --cron "0 3 * * 1" or --on-dataset NAME.' } });
  }
  const run = { ...(await submissionOf(options, (path) => readRecipe(path, cli.stdin, signal))), ...labelsAndGroup(options) };
  const when: Partial<ScheduleRequestInput> = cron === undefined ? { onDataset } : { cron, zone };
  const added = await (await session.client()).addSchedule({ name, ...when, overlap, run }, { signal });
  print(ui, added, cli.now());
  await noteMissingBaseline(session, { ...run, ...(onDataset === undefined ? {} : { dataset: onDataset }) });
  return undefined;
}

async function list({ ui, signal, client, cli }: Session): Promise<undefined> {
  const items: ScheduleView[] = [];
  for await (const schedule of (await client()).eachSchedule({ signal })) items.push(schedule);
  ui.json({ items });
  if (items.length === 0) ui.line('No schedules. `cairn schedule add nightly --cron "0 3 * * *" --recipe mini` adds one.');
  const rows = items.map((schedule) => [
    ui.style.bold(schedule.name),
    scheduleText(schedule),
    schedule.pausedAt === null ? timeIn(schedule.next[0], schedule.zone) : ui.style.warn('paused'),
    schedule.last === null ? '' : `${outcomeText(schedule.last, ui)} ${formatAgo(schedule.last.at, cli.now())}`,
    schedule.owner,
  ]);
  const columns = [{ title: 'name' }, { title: 'when' }, { title: 'next' }, { title: 'last' }, { title: 'owner' }];
  if (items.length > 0) for (const line of tableLines(columns, rows, { heading: ui.style.dim })) ui.line(line);
  return undefined;
}

async function show({ ui, signal, client, cli }: Session, name: string): Promise<undefined> {
  print(ui, await (await client()).getSchedule(name, { signal }), cli.now());
  return undefined;
}

async function pause({ ui, signal, client }: Session, name: string): Promise<undefined> {
  ui.json(await (await client()).pauseSchedule(name, { signal }));
  ui.line(`${name} is paused: \`cairn schedule resume ${name}\` resumes it.`);
  return undefined;
}

async function resume({ ui, signal, client, cli }: Session, name: string): Promise<undefined> {
  print(ui, await (await client()).resumeSchedule(name, { signal }), cli.now());
  return undefined;
}

async function runNow({ ui, signal, client }: Session, name: string): Promise<undefined> {
  const run = await (await client()).runSchedule(name, { signal });
  ui.json(run);
  ui.line(`${ui.style.bold(run.name)} submitted: ${plural(run.steps.total, 'step')} of ${run.recipe} on ${run.dataset}`);
  return undefined;
}

async function remove({ ui, signal, client }: Session, name: string): Promise<undefined> {
  await (await client()).removeSchedule(name, { signal });
  ui.json({ removed: name });
  ui.line(`${name} is removed.`);
  return undefined;
}

const timeIn = (time: string | undefined, zone: string): string => (time === undefined ? '' : timeInZone(time, zone));

function print(ui: Ui, schedule: ScheduleView, now: Date): void {
  const { name, owner, overlap, pausedAt, next, last, run } = schedule;
  const field = (title: string, value: string): void => ui.line(`  ${ui.style.dim(title.padEnd(9))} ${value}`);
  ui.json(schedule);
  ui.line(`${ui.style.bold(name)}${pausedAt === null ? '' : ui.style.warn(`  paused ${formatAgo(pausedAt, now)}`)}`);
  field('when', scheduleText(schedule));
  for (const [title, text] of submissionLines(run)) field(title, text);
  field('owner', owner);
  field('overlap', overlap);
  for (const [index, time] of next.entries()) field(index === 0 ? 'next' : '', timeIn(time, schedule.zone));
  if (last !== null)
    field('last', `${outcomeText(last, ui)} ${formatAgo(last.at, now)}, ${dueText(last.due, schedule)}: ${last.runId ?? last.message}`);
  if (last?.outcome === 'skipped') field('', last.message);
}

/** A time of the schedule, or the version of a dataset. */
const dueText = (due: string, { cron, zone }: ScheduleView): string => (cron === null ? `for ${due}` : `due ${timeIn(due, zone)}`);

function outcomeText({ outcome, code }: NonNullable<ScheduleView['last']>, { style }: Pick<Ui, 'style'>): string {
  if (outcome === 'refused') return style.bad(`refused (${code})`);
  return outcome === 'skipped' ? style.warn('skipped') : style.good('started');
}
