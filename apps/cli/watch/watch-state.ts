import type { RunView } from '@cairn/contract';

/** The newest point of what a training step measures. */
export type StepMetrics = { loss: number | null };

/** What a step's attempt said last about itself; a warning stands until something else is said. */
export type StepNote = { seq: number; level: 'info' | 'warning'; message: string };

/** All that a view of a run shows. */
export type WatchState = {
  run: RunView;
  /** By step name; only of training steps that are active or were while watched. */
  metrics: ReadonlyMap<string, StepMetrics>;
  /** By step name. */
  notes: ReadonlyMap<string, StepNote>;
  /** Whether the event stream is connected; what is shown may be old when it is lost. */
  connection: 'live' | 'lost';
};
