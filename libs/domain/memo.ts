import { markOf, type StepKind, stepSettings } from '@cairn/contract';
import type { StepPlan } from './expand-recipe.ts';

/** What a step's result depends on, by name. The memo key is the SHA-256 of its canonical JSON. */
export type MemoParts = {
  kind: StepKind;
  /** Digest of the program that does the step. */
  code: string;
  /** The settings marked `result`. */
  settings: Record<string, unknown>;
  /** Content digests of the artifacts it reads, by role. */
  inputs: Record<string, string>;
  /** Digest of the images and metadata, for the steps that read them. */
  source: string | null;
};

/** The kinds that read images or metadata, and so depend on the dataset's digest. */
const readsSource = {
  prepare: true,
  train: true,
  export: false,
  extract: true,
  search: false,
  evaluate: false,
  register: false,
} as const satisfies Record<StepKind, boolean>;

/** The parts of a step's memo key. Loader threads and the like (`operational` settings) have no part in it. */
export function memoParts(
  step: Pick<StepPlan, 'kind' | 'settings'>,
  code: string,
  inputs: Record<string, string>,
  sourceDigest: string,
): MemoParts {
  return {
    kind: step.kind,
    code,
    settings: resultSettings(step.kind, step.settings),
    inputs,
    source: readsSource[step.kind] ? sourceDigest : null,
  };
}

/** The fields of a step's settings that affect its result. */
export function resultSettings(kind: StepKind, settings: Record<string, unknown>): Record<string, unknown> {
  const shape: Record<string, unknown> = stepSettings[kind].shape;
  const entries = Object.entries(settings).filter(([name]) => {
    const field = shape[name];
    // `model` is a nested object whose fields are all results.
    return name === 'model' || (field !== undefined && markOf(field as Parameters<typeof markOf>[0]) === 'result');
  });
  return Object.fromEntries(entries);
}

/** The first parts in which two memo keys differ, in words: `setting epochs: 2, was 3`. */
export function explainDifference(now: MemoParts, before: MemoParts): string {
  const differences: string[] = [];
  for (const name of union(now.settings, before.settings)) {
    const [a, b] = [now.settings[name], before.settings[name]].map((value) => JSON.stringify(value));
    if (a !== b) differences.push(`setting ${name}: ${a ?? 'absent'}, was ${b ?? 'absent'}`);
  }
  for (const role of union(now.inputs, before.inputs))
    if (now.inputs[role] !== before.inputs[role]) differences.push(`its input ${role} is another`);
  if (now.source !== before.source) differences.push('the dataset changed');
  if (now.code !== before.code) differences.push('the code of the step changed');
  return differences.length > 0 ? differences.slice(0, 3).join('; ') : 'nothing differs';
}

const union = (a: object, b: object): string[] => [...new Set([...Object.keys(a), ...Object.keys(b)])].sort();
