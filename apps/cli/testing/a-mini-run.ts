import { aRun, aStep, idFor } from '@cairn/client/testing';
import type { RunView, StepView } from '@cairn/contract';

const at = (seconds: number): string => new Date(Date.UTC(2026, 0, 2, 3, 4, 5) + seconds * 1000).toISOString();

/** A run of the mini recipe halfway: one step of each appearance. */
export function aMiniRun(over: Partial<RunView> = {}, steps: Record<string, Partial<StepView>> = {}): RunView {
  const waiting = (sentence: string): StepView['waiting'] => ({ code: 'dependencies', sentence, since: at(0) });
  const views: StepView[] = [
    aStep({ name: 'prepare', kind: 'prepare', state: 'reused', reusedFrom: { runId: idFor('run', 7), runName: 'mini-0' } }),
    aStep({
      name: '384',
      kind: 'train',
      state: 'succeeded',
      startedAt: at(3),
      finishedAt: at(51),
      attempts: 1,
      scores: { 'mapAt100.start': 0.217, 'mapAt100.end': 0.683 },
    }),
    aStep({
      name: '384_finetune',
      kind: 'train',
      state: 'active',
      startedAt: at(52),
      attempts: 1,
      progress: { done: 26, total: 50, unit: 'steps', rate: 65.9, rateUnit: 'images', etaSeconds: 11.6, message: 'epoch 2 of 4' },
    }),
    aStep({ name: '512_finetune', kind: 'train', state: 'blocked', waiting: waiting('waits for 384_finetune') }),
    aStep({
      name: 'extract_index',
      kind: 'extract',
      state: 'active',
      startedAt: at(52),
      attempts: 2,
      shards: { total: 8, committed: 5, leased: 2, rows: 310, rejected: 2 },
      progress: { done: 350, total: 500, unit: 'images', rate: 68, etaSeconds: 3, message: '' },
    }),
  ].map((step, index) => ({ ...step, id: idFor('stp', index + 1), ...steps[step.name] }));
  return aRun({ startedAt: at(0), createdAt: at(-2), steps: { total: views.length, done: 2, reused: 1 }, stepViews: views, ...over });
}

/** A minute after the run started. */
export const aMinuteLater = new Date(at(60));
