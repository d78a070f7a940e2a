import { type GcResult, nextCollectionOf, type RetentionView, retentionSentences } from '@cairn/contract';
import { InvalidArgumentError } from 'commander';
import type { Registrar, Session } from '../cli.ts';
import { findRun } from '../find-run.ts';
import { tableLines } from '../output/table.ts';
import { formatAgo, formatBytes, formatUntil, plural } from '../output/units.ts';
import { collect, positiveNumber, wholeNumber } from './options.ts';

export function addRetention({ program, action }: Registrar): void {
  const retention = program.command('retention').description('how long results are kept');
  retention.command('show', { isDefault: true }).description('shows the policy').action(action(show));
  retention
    .command('set')
    .description('replaces the whole policy: an option that is left out has its default (for admins); `cairn gc --dry-run` shows what goes')
    .option('--runs-older-than <days>', 'gives up the results of runs that ended longer ago, such as 90d (default: never)', days)
    .option(
      '--checkpoints <count>',
      'keeps this many of the newest checkpoints of a stage that ended without a result',
      wholeNumber(0, 100),
      0,
    )
    .option('--keep-label <key=value>', 'runs with this label keep their results; may be repeated', collect)
    .option('--every <hours>', 'how often the leader collects', wholeNumber(1, 10_000), 24)
    .option('--by-hand', 'only `cairn gc` collects')
    .action(action(set));
  program.command('pin <run>').description('keeps the results of a run, whatever the policy').action(action(pin));
  program.command('unpin <run>').description('lets the policy decide about a run again').action(action(unpin));
  program
    .command('gc')
    .description('applies the retention policy, and removes artifacts that no run refers to and the remains of ended attempts')
    .option('--dry-run', 'only shows what would be removed and what would be kept, and why')
    .option('--older-than <hours>', 'keeps what is newer', positiveNumber, 24)
    .action(action(gc));
}

async function show({ ui, signal, client, cli }: Session): Promise<undefined> {
  const policy = await (await client()).getRetention({ signal });
  ui.json(policy);
  for (const line of policyLines(policy, cli.now())) ui.line(line);
  return undefined;
}

type SetOptions = { runsOlderThan?: number; checkpoints: number; keepLabel?: string[]; every: number; byHand?: true };

async function set({ ui, signal, client, cli }: Session, options: SetOptions): Promise<undefined> {
  const { runsOlderThan = null, checkpoints, keepLabel: keepLabels = [], every, byHand } = options;
  const change = { runsOlderThanDays: runsOlderThan, checkpoints, keepLabels, everyHours: byHand ? null : every };
  const policy = await (await client()).setRetention(change, { signal });
  ui.json(policy);
  for (const line of policyLines(policy, cli.now())) ui.line(line);
  ui.note(ui.style.dim('`cairn gc --dry-run` shows what goes and what stays.'));
  return undefined;
}

function policyLines(policy: RetentionView, now: Date): string[] {
  const { setBy, updatedAt } = policy;
  const collectsAt = nextCollectionOf(policy);
  return [
    ...retentionSentences(policy),
    ...(collectsAt === null ? [] : [`The leader collects next ${formatUntil(collectsAt, now)}.`]),
    ...(setBy === null ? [] : [`Set by ${setBy}${updatedAt === null ? '' : ` ${formatAgo(updatedAt, now)}`}.`]),
  ];
}

const pin = (session: Session, text: string): Promise<undefined> => setPin(session, text, true);
const unpin = (session: Session, text: string): Promise<undefined> => setPin(session, text, false);

async function setPin({ ui, signal, client }: Session, text: string, isPinned: boolean): Promise<undefined> {
  const api = await client();
  const { id } = await findRun(api, text, signal);
  const run = await api.pinRun(id, isPinned, { signal });
  ui.json(run);
  ui.line(`${ui.style.bold(run.name)} ${isPinned ? 'is pinned: its results are kept.' : 'is no longer pinned.'}`);
  return undefined;
}

/** Most lines of a table; --json has up to 1,000. */
const maxLines = 30;

async function gc({ ui, signal, client }: Session, options: { dryRun?: true; olderThan: number }): Promise<undefined> {
  const result = await (await client()).collectGarbage({ dryRun: options.dryRun === true, olderThanHours: options.olderThan }, { signal });
  ui.json(result);
  const { artifacts, runs, kept, bytes, totals, dryRun } = result;
  const counts = totals ?? { artifacts: artifacts.length, runs: runs.length, stagingPrefixes: 0, logPrefixes: 0, kept: [] };
  if (counts.artifacts + counts.stagingPrefixes + counts.logPrefixes === 0) ui.line('Nothing to remove.');
  else {
    printArtifacts(ui, dryRun ? 'would go' : 'removed', artifacts, counts.artifacts);
    const ofRuns = runs.length === 0 ? '' : `The results of ${plural(runs.length, 'run')} ${dryRun ? 'would be' : 'are'} given up. `;
    const what = `${plural(counts.artifacts, 'artifact')}, the staging of ${plural(counts.stagingPrefixes, 'attempt')} and the curves of ${plural(counts.logPrefixes, 'attempt')}, ${formatBytes(bytes)}`;
    ui.line(`${ofRuns}${dryRun ? 'Would remove' : 'Removed'} ${what}.`);
  }
  if (kept.length > 0) {
    ui.line('');
    printArtifacts(
      ui,
      'stays',
      kept,
      counts.kept.reduce((sum, { artifacts: count }) => sum + count, 0),
    );
    for (const { artifacts: count, bytes: size, why } of counts.kept)
      ui.line(`${plural(count, 'artifact')}, ${formatBytes(size)}: ${why}.`);
  }
  return undefined;
}

function printArtifacts(ui: Session['ui'], title: string, items: GcResult['artifacts'], total: number): void {
  const shown = items.slice(0, maxLines);
  const rows = shown.map(({ kind, bytes, id, why }) => [kind, formatBytes(bytes), ui.style.dim(id), why]);
  const columns = [{ title }, { title: 'size', align: 'right' as const }, { title: 'id' }, { title: 'why' }];
  if (rows.length > 0) for (const line of tableLines(columns, rows, { heading: ui.style.dim })) ui.line(line);
  if (total > shown.length) ui.line(ui.style.dim(`and ${plural(total - shown.length, 'more artifact')}`));
}

function days(text: string): number {
  const [, amount = ''] = /^([0-9]{1,5})d?$/.exec(text.trim()) ?? [];
  if (amount === '' || Number(amount) < 1 || Number(amount) > 10_000)
    throw new InvalidArgumentError('It must be a number of days such as 90d.');
  return Number(amount);
}
