import type { RunGate } from './gates.ts';
import { recipeNameOf, type SubmitRequest } from './rest.ts';

type Submission = Pick<SubmitRequest, 'recipe'> & Partial<Pick<SubmitRequest, 'dataset' | 'set' | 'labels' | 'gate'>>;

/** What a trigger or a schedule submits, as titles and texts. */
export function submissionLines({ recipe, dataset, set = {}, labels = {}, gate }: Submission): [title: string, text: string][] {
  const settings = Object.entries(set).map(([path, value]) => `${path}=${JSON.stringify(value)}`);
  const labelled = Object.entries(labels).map(([key, value]) => `${key}=${value}`);
  return [
    ['recipe', `${recipeNameOf({ recipe })}${dataset === undefined ? '' : ` on ${dataset}`}`],
    ['settings', settings.join(', ') || 'none'],
    ...(labelled.length === 0 ? [] : [['labels', labelled.join(', ')] satisfies [string, string]]),
    ['gate', gate === undefined ? 'none' : gateText(gate)],
  ];
}

function gateText({ gate, by, minQueries, onInconclusive, promote, evaluateBaseline }: RunGate): string {
  return [
    gate,
    ...(by === 'mean' ? ['by the mean'] : []),
    ...(minQueries > 1 ? [`with at least ${minQueries} queries`] : []),
    ...(onInconclusive === null ? [] : [`an inconclusive one counts as ${onInconclusive === 'pass' ? 'passed' : 'failed'}`]),
    ...(evaluateBaseline ? ['the baseline is evaluated first if it has to be'] : []),
    ...(promote === null ? [] : [`a passed one moves ${promote.alias}`]),
  ].join('; ');
}
