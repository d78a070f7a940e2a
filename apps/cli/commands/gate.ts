import { CairnError, isCairnError, isEndedRun, type RunView, type SubmitRequestInput } from '@cairn/contract';
import type { GateOutcome } from '@cairn/runtime';
import { type Command, Option } from 'commander';
import type { Session } from '../cli.ts';
import { exitCodes } from '../exit-codes.ts';
import { wholeNumber } from './options.ts';

export type GateOptions = {
  gate?: string;
  by?: 'interval' | 'mean';
  minQueries?: number;
  onInconclusive?: 'pass' | 'fail';
  promote?: string;
  evaluateBaseline?: true;
  commentFile?: string;
};

/** The options that say how a gate decides. */
export function withGate(command: Command): Command {
  return command
    .addOption(
      new Option('--by <evidence>', 'what decides: the 95 % interval of the difference (the default), or the mean alone').choices([
        'interval',
        'mean',
      ]),
    )
    .option('--min-queries <count>', 'with fewer scored queries the gate is inconclusive', wholeNumber(1, 1_000_000))
    .addOption(
      new Option(
        '--on-inconclusive <verdict>',
        `exits with 0 or ${exitCodes.gateFailed.code} if the gate cannot decide (default: ${exitCodes.inconclusive.code})`,
      ).choices(['pass', 'fail']),
    )
    .option(
      '--evaluate-baseline',
      'if the baseline was evaluated on other images, or searched otherwise: evaluates it as the run was first, by a run',
    );
}

/** The options of a submission with a gate. */
export const withRunGate = (command: Command): Command =>
  withGate(command.option('--gate <gate>', 'judges the run once it has succeeded, such as "mAP@100 >= production - 0.2 points"')).option(
    '--promote <alias>',
    'with --gate: if it passes, lets this alias name the model that the run registers',
  );

/** The gate of a submission. */
export function gateOf(options: GateOptions): Partial<Pick<SubmitRequestInput, 'gate'>> {
  const { gate, by, minQueries, onInconclusive = null, promote, evaluateBaseline } = options;
  if (gate === undefined) {
    // Without a gate they would change nothing, and nobody would notice that nothing is judged.
    const given = Object.entries({ promote, evaluateBaseline, by, minQueries, onInconclusive }).find(([, value]) => value != null);
    if (given === undefined) return {};
    const option = `--${given[0].replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
    throw new CairnError('invalid_request', `${option} needs --gate`, { details: { remedy: 'Add --gate.' } });
  }
  return {
    gate: {
      gate,
      ...(by && { by }),
      ...(minQueries && { minQueries }),
      onInconclusive,
      promote: promote === undefined ? null : { alias: promote },
      ...(evaluateBaseline === true ? { evaluateBaseline } : {}),
    },
  };
}

/** Warns of a baseline that does not exist yet, which is allowed for what starts later: its alias must be set before the first run is judged. */
export async function noteMissingBaseline({ ui, signal, client }: Session, run: SubmitRequestInput): Promise<void> {
  if (run.gate === undefined) return;
  try {
    await (await client()).planRun(run, { signal });
  } catch (error) {
    if (!isCairnError(error, 'not_found')) throw error;
    const more = 'The gate of a run that is judged before it exists is refused.';
    const { remedy } = error.details;
    ui.note(ui.style.warn(`${error.message}. ${typeof remedy === 'string' ? `${remedy} ` : ''}${more}`));
  }
}

/**
 * What a job of GitHub Actions shows beside its log: an error for a run that was cancelled or is not over, a failed step, a failed gate or
 * one that was not judged, a warning for an inconclusive one.
 * https://docs.github.com/en/actions/reference/workflow-commands-for-github-actions
 */
export function annotationsOf(run: RunView): string[] {
  if (run.state === 'cancelled') return [annotation('error', `${run.name} was cancelled`, run.cause ?? 'no reason was given')];
  if (!isEndedRun(run.state))
    return [annotation('error', `${run.name} was not over within --timeout`, `It is ${run.state} and continues: cairn watch ${run.name}`)];
  const { judgement, refusal } = outcomeOf(run);
  const failed = run.stepViews.flatMap(({ state, name, failure }) =>
    state === 'failed' ? [annotation('error', `${run.name}: ${name} failed`, failure?.message ?? 'no reason was reported')] : [],
  );
  if (refusal !== null) return [...failed, annotation('error', `${run.name}: quality gate not judged`, refusal)];
  if (judgement === null) return failed;
  const { promotion } = judgement;
  if (judgement.verdict === 'passed')
    return promotion?.outcome === 'kept'
      ? [...failed, annotation('warning', `${promotion.alias} was not moved`, promotion.reason)]
      : failed;
  const level = judgement.verdict === 'failed' ? 'error' : 'warning';
  return [...failed, annotation(level, `Quality gate ${judgement.verdict}: ${judgement.gate}`, judgement.reason)];
}

/** What became of a run's gate: its judgement, or why it was not judged; both null without a gate, and where the run did not succeed. */
export function outcomeOf({ gate }: RunView): GateOutcome {
  return { judgement: gate?.judgement ?? null, refusal: gate?.state === 'refused' ? gate.problem : null };
}

function annotation(level: 'error' | 'warning', title: string, message: string): string {
  const data = (text: string) => text.replaceAll('%', '%25').replaceAll('\r', '%0D').replaceAll('\n', '%0A');
  return `::${level} title=${data(title).replaceAll(':', '%3A').replaceAll(',', '%2C')}::${data(message)}`;
}
