import { isDoneStep, isEndedStep, listsDetails } from '@cairn/contract';
import { faultOfLists, rulesOf } from '@cairn/domain';
import { recordFailure } from './attempts/spec.ts';
import { inputArtifact } from './memo.ts';
import type { RunWork, WorkStep } from './run-work.ts';

/**
 * The steps that must fail with lists that `becoming`, which is about to start, reads too: it must not train for them. Their failures are
 * recorded; lists that are not made yet fail nothing.
 */
export async function failForLists(run: RunWork, becoming: WorkStep): Promise<WorkStep[]> {
  const place = placeOfLists(run, becoming);
  if (place === null || typeof rulesOf(becoming).reads('lists') !== 'object') return [];
  const details = listsDetails.safeParse((await inputArtifact(run, becoming, 'lists'))?.details).data;
  if (details === undefined) return [];
  const failing: WorkStep[] = [];
  for (const step of run.steps) {
    if (isEndedStep(step.state) || placeOfLists(run, step) !== place) continue;
    const fault = faultOfLists(step, details.lists, startOf(run, step, place));
    if (fault === null) continue;
    recordFailure(run, step, fault);
    failing.push(step);
  }
  return failing;
}

/** The artifact with the lists that a step reads; null while there is none. */
function placeOfLists(run: RunWork, { needs, given }: WorkStep): string | null {
  const need = needs.find(({ role }) => role === 'lists');
  const made = run.steps.find(({ name }) => name === need?.step);
  if (made !== undefined) return isDoneStep(made.state) ? (made.artifact?.id ?? null) : null;
  return given.find(({ role }) => role === 'lists')?.artifactId ?? null;
}

/** The stage of the run from which a stage continues, if it reads the same lists. */
function startOf(run: RunWork, { needs }: WorkStep, place: string): { stage: string; list: string } | null {
  const need = needs.find(({ role }) => role === 'start');
  const before = run.steps.find(({ name }) => name === need?.step);
  return before?.kind === 'train' && placeOfLists(run, before) === place ? { stage: before.name, list: before.settings.list } : null;
}
