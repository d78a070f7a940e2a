import type { Harness } from '@cairn/engine/testing';
import { playStage } from './play-stage.ts';

const traceback = 'Traceback (most recent call last):\n  File "train.py", line 128, in run\nFloatingPointError: loss is nan at step 1204';

/** A run whose first stage has failed, with its curve and its log. */
export async function failStage(harness: Harness, name: string): Promise<{ runId: string; attemptId: string }> {
  const runId = await harness.submit({ name, noReuse: true });
  await harness.play(runId, 'prepare');
  const stage = await playStage(harness, runId, 'first');
  await stage.print(Array.from({ length: 500 }, (_, line) => `step ${line + 1} loss 0.5\n`).join(''));
  await stage.print(`\u001b[31mERROR\u001b[0m the loss is not finite\n${traceback}\n`, 'stderr');
  const steps = Array.from({ length: 50 }, (_, index) => index + 1);
  await stage.report(
    { type: 'metrics', name: 'loss', steps, values: steps.map((step) => 5 / step), times: steps.map((step) => 1_800_000_000 + step) },
    { type: 'progress', done: 50, total: 100, unit: 'steps', rate: 120, rateUnit: 'images', etaSeconds: 60, message: '' },
  );
  await stage.fail(`The loss is not finite at step 1,204.\n${traceback}`);
  return { runId, attemptId: stage.attemptId };
}
