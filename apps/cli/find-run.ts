import type { CairnClient } from '@cairn/client';
import { CairnError, idOf, type RunSummary, type RunView, type StepView, safeName } from '@cairn/contract';
import { didYouMean, nearestName } from '@cairn/runtime';

/** How many of the newest runs are searched for the beginning of an id. */
const searched = 1000;

/**
 * The run that a person means: by its id, its name, or the beginning of its id if only one run matches (with or without
 * `run_`).
 *
 * @throws CairnError `not_found` with the nearest name; `invalid_request` when several runs match
 */
export async function findRun(client: CairnClient, text: string, signal: AbortSignal): Promise<RunSummary> {
  if (idOf('run').safeParse(text).success) return client.getRun(text, { signal });
  if (!safeName.safeParse(text).success) {
    throw new CairnError('invalid_path', `"${text}" is neither a name nor an id of a run`);
  }
  const named = (await client.listRuns({ name: text, limit: 2 }, { signal })).items.find((run) => run.name === text);
  if (named !== undefined) return named;

  const beginning = text.startsWith('run_') ? text : `run_${text}`;
  const fitting: RunSummary[] = [];
  const names: string[] = [];
  for await (const run of client.eachRun({ limit: 200 }, { signal })) {
    if (run.id.startsWith(beginning)) fitting.push(run);
    names.push(run.name);
    if (names.length >= searched || fitting.length > 5) break;
  }
  const [only, ...others] = fitting;
  if (only !== undefined && others.length === 0) return only;
  if (only !== undefined) {
    const list = fitting.slice(0, 5).map((run) => `${run.name} (${run.id})`);
    throw new CairnError('invalid_request', `"${text}" is the beginning of several runs' ids: ${list.join(', ')}`, {
      details: { remedy: 'Use more of the id, or the name.' },
    });
  }
  const nearest = nearestName(text, names);
  throw new CairnError('not_found', `No run "${text}"${didYouMean(nearest)}`, {
    details: { ...(nearest === null ? {} : { nearest }), remedy: '`cairn runs` lists them.' },
  });
}

/** @throws CairnError `not_found` with the nearest name */
export function findStep(run: RunView, name: string): StepView {
  const names = run.stepViews.map((step) => step.name);
  const found = run.stepViews.find((step) => step.name === name);
  if (found !== undefined) return found;
  const nearest = nearestName(name, names);
  throw new CairnError('not_found', `${run.name} has no step "${name}"${didYouMean(nearest)}`, {
    details: { ...(nearest === null ? {} : { nearest }), remedy: `Its steps are ${names.join(', ')}.` },
  });
}
