import { CairnError, isCairnError, parseGate } from '@cairn/contract';
import type { Registrar, Session } from '../cli.ts';
import { exitCodeOfVerdict, exitCodes } from '../exit-codes.ts';
import { judgementLines } from '../watch/run-lines.ts';
import { type GateOptions, withGate } from './gate.ts';
import { waitForRun } from './submit.ts';

export function addGate({ program, action }: Registrar): void {
  withGate(
    program
      .command('gate <gate> <evaluation>')
      .description(
        'tries a quality gate, such as "mAP@100 >= production - 0.2 points", on an evaluation: RUN, RUN/STEP, MODEL@VERSION or an id; nothing is stored',
      ),
  ).action(action(tryGate));
}

async function tryGate(session: Session, gate: string, of: string, options: GateOptions): Promise<number> {
  const { ui, signal, client } = session;
  parseGate(gate);
  const { by = 'interval', minQueries = 1 } = options;
  const api = await client();
  const question = { of, gate, by, minQueries };
  const judged = await api.tryGate(question, { signal }).catch(async (error: unknown) => {
    if (options.evaluateBaseline !== true || !isCairnError(error, 'not_comparable')) throw error;
    const run = await api.evaluateBaseline({ of, gate }, { signal });
    ui.note(`${run.name} evaluates the baseline on the same data.  ${ui.style.dim(run.id)}`);
    // With --json the judgement is the only document.
    const code = await waitForRun({ ...session, ui: { ...ui, jsonLine: () => undefined } }, api, run);
    if (code !== exitCodes.ok.code)
      throw new CairnError('not_comparable', `${run.name}, which was to evaluate the baseline, did not succeed`, {
        details: { remedy: `See why with \`cairn show ${run.name}\`, retry it with \`cairn retry ${run.name}\`, and ask again.` },
      });
    return api.tryGate(question, { signal });
  });
  ui.json(judged);
  for (const line of judgementLines(judged, ui)) ui.line(line);
  return exitCodeOfVerdict(judged.verdict, options.onInconclusive ?? null);
}
