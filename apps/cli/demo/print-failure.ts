import type { CairnClient } from '@cairn/client';
import type { RunView } from '@cairn/contract';
import type { Ui } from '../output/ui.ts';
import { visibleLogLine } from '../output/visible-text.ts';
import { failureText } from '../watch/run-lines.ts';

const tailLines = 30;

/** Tells why a run failed: the failure of each failed step and the end of its last attempt's log. */
export async function printFailure(client: CairnClient, run: RunView, { ui, signal }: { ui: Ui; signal: AbortSignal }): Promise<void> {
  for (const step of run.stepViews.filter(({ state }) => state === 'failed')) {
    ui.line('');
    for (const line of failureText(step)) ui.line(ui.style.bad(line));
    const { items } = await client.listAttempts(run.id, step.name, { signal });
    const ordinal = Math.max(0, ...items.map((attempt) => attempt.ordinal));
    let text = '';
    const streams = ['agent', 'stdout', 'stderr'] as const;
    for await (const piece of client.followStepLogs({ runId: run.id, step: step.name, streams, ordinal, follow: false, signal }))
      text += piece.text;
    const lines = text.trimEnd().split('\n').slice(-tailLines);
    if (text.trim() === '') continue;
    ui.line(ui.style.dim(`the end of its log (attempt ${ordinal}):`));
    for (const line of lines) ui.line(`  ${visibleLogLine(line, ui.style)}`);
  }
}
