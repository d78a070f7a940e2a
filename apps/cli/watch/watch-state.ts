import type { RunView } from '@cairn/contract';

/** The newest metrics of a training step. */
export type StepMetrics = { loss: number | null };

/** The last note of a step's attempt about itself; a warning stays until the next note. */
export type StepNote = { seq: number; level: 'info' | 'warning'; message: string };

/** Everything that a view of a run shows. */
export type WatchState = {
  run: RunView;
  /** By step name; only of training steps that are active or were while watched. */
  metrics: ReadonlyMap<string, StepMetrics>;
  /** By step name. */
  notes: ReadonlyMap<string, StepNote>;
  /** Whether the event stream is connected; the state may be old when it is lost. */
  connection: 'live' | 'lost';
};
