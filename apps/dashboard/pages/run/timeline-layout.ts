import { type RunTimeline, timelineSpan, waitForRoom } from '@cairn/contract';

type TimelineStep = RunTimeline['steps'][number];
type TimelineAttempt = RunTimeline['attempts'][number];

/** A part of a lane, as shares of the whole time. */
export type Bar<T> = { from: number; to: number; what: T };
export type TimelineRow = {
  step: TimelineStep;
  /** From when its dependencies were done until its first attempt worked: it waited for room. */
  waits: Bar<'waits'>[];
  /** Attempts that overlap in time are in different lanes. */
  lanes: Bar<TimelineAttempt>[][];
  /** Attempts that no lane had room for. */
  hidden: number;
};

/** Most lanes of a step: a fleet has many attempts at a time. */
export const maxLanes = 6;

/** The bars of every step between the beginning of the run and its end, or now. Pure. */
export function layOutTimeline(timeline: RunTimeline): { rows: TimelineRow[]; beginMs: number; endMs: number } {
  const { beginMs, endMs } = timelineSpan(timeline);
  const share = (at: string | null): number =>
    Math.min(1, Math.max(0, ((at === null ? endMs : Date.parse(at)) - beginMs) / (endMs - beginMs)));

  const rows = timeline.steps.map((step): TimelineRow => {
    const attempts = timeline.attempts.filter((attempt) => attempt.step === step.name);
    const lanes: Bar<TimelineAttempt>[][] = [];
    let hidden = 0;
    for (const what of attempts.toSorted((a, b) => Date.parse(a.createdAt) - Date.parse(b.createdAt))) {
      const bar = { from: share(what.createdAt), to: share(what.endedAt), what };
      const lane = lanes.find((one) => (one.at(-1)?.to ?? 0) <= bar.from);
      if (lane !== undefined) lane.push(bar);
      else if (lanes.length < maxLanes) lanes.push([bar]);
      else hidden += 1;
    }
    const wait = waitForRoom(step, attempts);
    return { step, waits: wait === null ? [] : [{ from: share(wait.from), to: share(wait.to), what: 'waits' }], lanes, hidden };
  });
  return { rows, beginMs, endMs };
}

/** Round distances between marks: seconds, minutes, hours, days. */
const distancesMs = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400, 21_600, 43_200, 86_400, 172_800, 604_800].map(
  (s) => s * 1000,
);

/** Marks at round times since the beginning, at most `most`. */
export function marks(spanMs: number, most: number): number[] {
  const distance = distancesMs.find((ms) => spanMs / ms <= most) ?? Math.ceil(spanMs / most);
  return Array.from({ length: Math.floor(spanMs / distance) + 1 }, (_, index) => index * distance);
}
