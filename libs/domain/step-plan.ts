import type { ExternalInput, KindAndSettings, WeightsContent } from '@cairn/contract';

export type StepNeed = { role: string; step: string };

/** Something from outside the run that a step reads; `setting` is where the recipe says so. */
export type StepWant = {
  role: string;
  input: ExternalInput;
  setting: string;
  /** Of imported weights: what they may hold. */
  contents: readonly WeightsContent[];
};

/** What a step reads: of the run, and from outside. */
export type StepInputs = { needs: StepNeed[]; wants: StepWant[] };

/** One step of a run: its kind says where it runs and how many slots it takes (`rulesOf`). */
export type StepPlan = KindAndSettings & StepInputs & { name: string };
