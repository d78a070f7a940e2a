import type { ReportItem } from '@cairn/contract';
import type { Harness } from '@cairn/engine/testing';

export type PlayedStage = {
  attemptId: string;
  /** What its agent reports next. */
  report: (...items: ReportItem[]) => Promise<void>;
  /** The process prints, and its agent reports it. */
  print: (text: string, stream?: 'stdout' | 'stderr') => Promise<void>;
  succeed: () => Promise<void>;
  fail: (message: string) => Promise<void>;
};

const chunkCharacters = 32_768;
const itemsPerReport = 400;

/** An attempt at a training stage whose agent the test plays. */
export async function playStage(harness: Harness, runId: string, name: string): Promise<PlayedStage> {
  const { engine } = harness;
  const [attemptId = ''] = await harness.startAttempts(runId, name);
  const printed = { stdout: 0, stderr: 0 };
  let seq = 0;

  const report = async (...items: ReportItem[]): Promise<void> => {
    for (let from = 0; from < items.length; from += itemsPerReport) {
      seq += 1;
      await engine.report(attemptId, 1, { seq, at: new Date().toISOString(), items: items.slice(from, from + itemsPerReport) });
    }
  };
  return {
    attemptId,
    report,
    async print(text, stream = 'stdout') {
      const items: ReportItem[] = [];
      for (let from = 0; from < text.length; from += chunkCharacters) {
        const chunk = text.slice(from, from + chunkCharacters);
        items.push({ type: 'log', stream, offset: printed[stream], text: chunk });
        printed[stream] += Buffer.byteLength(chunk);
      }
      await report(...items);
    },
    async succeed() {
      await engine.finishAttempt(attemptId, 1, {
        outcome: 'succeeded',
        files: [harness.file(`${name}.bin`, attemptId)],
        details: { step: 3 },
      });
      await harness.finalize(runId, name);
    },
    fail: (message) => engine.finishAttempt(attemptId, 1, { outcome: 'failed', cause: 'user', code: 'training_diverged', message }),
  };
}
