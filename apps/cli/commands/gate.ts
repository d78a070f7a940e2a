import type { CairnClient } from '@cairn/client';
import { type Judgement, parseGate, type RunView } from '@cairn/contract';
import type { GateOutcome } from '@cairn/runtime';
import { type Command, Option } from 'commander';
import type { Registrar, Session } from '../cli.ts';
import { exitCodeOfVerdict, exitCodes } from '../exit-codes.ts';
import type { Ui } from '../output/ui.ts';
import { formatPercent } from '../output/units.ts';
import { wholeNumber } from './options.ts';

export type GateOptions = {
  gate?: string;
  by?: 'interval' | 'mean';
  minQueries?: number;
  onInconclusive?: 'pass' | 'fail';
  commentFile?: string;
};

export function addGate({ program, action }: Registrar): void {
  withGate(
    program
      .command('gate <gate> <evaluation>')
      .description(
        'tries a quality gate, such as "mAP@100 >= production - 0.2 points", on an evaluation: RUN, RUN/STEP, MODEL@VERSION or an id; nothing is stored',
      ),
  ).action(action(tryGate));
}

/** The options that say how a gate decides. */
export function withGate(command: Command): Command {
  return command
    .addOption(
      new Option('--by <evidence>', 'what decides: the 95 % interval of the difference, or the mean alone')
        .choices(['interval', 'mean'])
        .default('interval'),
    )
    .option('--min-queries <count>', 'with fewer scored queries the gate is inconclusive', wholeNumber(1, 1_000_000), 1)
    .addOption(
      new Option(
        '--on-inconclusive <verdict>',
        `exits with 0 or ${exitCodes.gateFailed.code} if the gate cannot decide (default: ${exitCodes.inconclusive.code})`,
      ).choices(['pass', 'fail']),
    );
}

async function tryGate({ ui, signal, client }: Session, gate: string, of: string, options: GateOptions): Promise<number> {
  parseGate(gate);
  const { by = 'interval', minQueries = 1 } = options;
  const judged = await (await client()).tryGate({ of, gate, by, minQueries }, { signal });
  ui.json(judged);
  printJudgement(ui, judged);
  return codeOf(judged, options);
}

/** Judges a run that succeeded, prints the verdict, and returns the exit code for it. */
export async function judgeRun(
  { ui, signal }: Session,
  client: CairnClient,
  run: { id: string },
  options: GateOptions & { gate: string },
): Promise<{ judgement: Judgement; code: number }> {
  const { gate, by = 'interval', minQueries = 1 } = options;
  const judged = await client.judgeRun(run.id, { gate, by, minQueries }, { signal });
  ui.json(judged);
  printJudgement(ui, judged);
  return { judgement: judged, code: codeOf(judged, options) };
}

function codeOf({ verdict }: Judgement, { onInconclusive }: GateOptions): number {
  if (verdict !== 'inconclusive' || onInconclusive === undefined) return exitCodeOfVerdict[verdict];
  return onInconclusive === 'pass' ? exitCodes.ok.code : exitCodes.gateFailed.code;
}

function printJudgement(ui: Ui, { verdict, gate, reason, lost }: Judgement): void {
  const { good, bad, warn } = ui.style;
  const paint = { passed: good, failed: bad, inconclusive: warn }[verdict];
  ui.line(`${paint(`Gate ${verdict}`)}: ${gate}`);
  ui.line(reason);
  if (verdict === 'passed' || lost.length === 0) return;
  ui.line(
    `Queries that lost most: ${lost.map(({ queryId, a, b }) => `${queryId} (${formatPercent(a)} to ${formatPercent(b)})`).join(', ')}`,
  );
}

/**
 * What a job of GitHub Actions shows beside its log: an error for a failed step, a failed gate or one that was not judged, a warning for an
 * inconclusive one.
 * https://docs.github.com/en/actions/reference/workflow-commands-for-github-actions
 */
export function annotationsOf(run: RunView, { judgement, refusal }: GateOutcome): string[] {
  const failed = run.stepViews.flatMap(({ state, name, failure }) =>
    state === 'failed' ? [annotation('error', `${run.name}: ${name} failed`, failure?.message ?? 'no reason was reported')] : [],
  );
  if (refusal !== null) return [...failed, annotation('error', `${run.name}: quality gate not judged`, refusal)];
  if (judgement === null || judgement.verdict === 'passed') return failed;
  const level = judgement.verdict === 'failed' ? 'error' : 'warning';
  return [...failed, annotation(level, `Quality gate ${judgement.verdict}: ${judgement.gate}`, judgement.reason)];
}

function annotation(level: 'error' | 'warning', title: string, message: string): string {
  const data = (text: string) => text.replaceAll('%', '%25').replaceAll('\r', '%0D').replaceAll('\n', '%0A');
  return `::${level} title=${data(title).replaceAll(':', '%3A').replaceAll(',', '%2C')}::${data(message)}`;
}
