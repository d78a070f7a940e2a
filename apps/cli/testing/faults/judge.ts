import { type RunEvent, stepOfEvent } from '@cairn/contract';
import type { Played } from './play-run.ts';

/** The errors of an interrupted run, compared with an uninterrupted one; empty for the same end. */
export function judge(played: Played, reference: Played): string[] {
  return [
    ...sameEnd(played, reference),
    ...played.missed.map((name) => `${name} never happened`),
    ...noStepTwice(played.events),
    ...countsProven(played),
    ...historyWhole(played.events),
  ];
}

function sameEnd(played: Played, reference: Played): string[] {
  const faults: string[] = [];
  if (played.mapAt100 !== reference.mapAt100) faults.push(`mAP@100 is ${played.mapAt100}, without faults it is ${reference.mapAt100}`);
  if (played.submissionDigest !== reference.submissionDigest) faults.push('submission.csv differs from that of the run without faults');
  for (const [step, digest] of Object.entries(reference.digests))
    if (played.digests[step] !== digest) faults.push(`${step} made something else than in the run without faults`);
  return faults;
}

/** A step that succeeded gets no further attempt, and succeeds once. */
function noStepTwice(events: readonly RunEvent[]): string[] {
  const done = new Set<string>();
  const faults: string[] = [];
  for (const event of events) {
    const step = stepOfEvent(event);
    if (step === null) continue;
    if (event.type === 'attempt' && event.data.state === 'created' && done.has(step)) faults.push(`${step} ran again after it was done`);
    if (event.type !== 'step' || event.data.state !== 'succeeded') continue;
    if (done.has(step)) faults.push(`${step} succeeded twice`);
    done.add(step);
  }
  return faults;
}

function countsProven({ run }: Played): string[] {
  return run.stepViews
    .filter(({ shards }) => shards !== null)
    .flatMap(({ name, shards }) =>
      shards && shards.committed === shards.total && shards.rows > 0 ? [] : [`${name}: not every shard is committed`],
    );
}

/** The stream missed and repeated nothing, whatever was killed. */
function historyWhole(events: readonly RunEvent[]): string[] {
  const gap = events.findIndex((event, index) => event.seq !== index + 1);
  return gap < 0 ? [] : [`event ${events[gap]?.seq} came in place of ${gap + 1}`];
}

/** A training attempt after one that saved checkpoints resumes from the newest. */
export function resumedFromNewest(events: readonly RunEvent[]): string[] {
  const newest = new Map<string, number>();
  const attempts = new Map<string, number>();
  const resumed = new Set<string>();
  const faults: string[] = [];
  for (const event of events) {
    const step = stepOfEvent(event);
    if (step === null) continue;
    if (event.type === 'attempt' && event.data.state === 'created') attempts.set(step, (attempts.get(step) ?? 0) + 1);
    if (event.type === 'checkpoint') newest.set(step, event.data.at);
    if (event.type === 'attempt' && event.data.checkpointId !== undefined) {
      resumed.add(step);
      if (event.data.at !== newest.get(step))
        faults.push(`${step} resumed from step ${event.data.at}, although ${newest.get(step)} was saved`);
    }
  }
  const lostBefore = (step: string): boolean => {
    const saved = events.findIndex((event) => event.type === 'checkpoint' && event.data.step === step);
    const again = events.findLastIndex((event) => event.type === 'attempt' && event.data.step === step && event.data.state === 'created');
    return saved >= 0 && again > saved;
  };
  for (const [step, count] of attempts)
    if (count > 1 && lostBefore(step) && !resumed.has(step)) faults.push(`${step} started over although it had saved a checkpoint`);
  return faults;
}
