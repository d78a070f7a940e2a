import { CairnError, type RecipeInput, type SubmitRequestInput } from '@cairn/contract';
import { parseSetOptions } from './set-option.ts';

/** The options of `submit` and `plan`, as commander gives them. */
export type SubmissionOptions = {
  file?: string;
  recipe?: string;
  set?: string[];
  dataset?: string;
  name?: string;
  priority?: number;
  until?: string;
  /** From `--no-reuse[=step,...]`: true when absent, false when bare, else the steps. */
  reuse: boolean | string;
};

/** The submission that the options ask for. `readRecipe` reads the file of `-f`. */
export async function submissionOf(
  options: SubmissionOptions,
  readRecipe: (path: string) => Promise<RecipeInput>,
): Promise<SubmitRequestInput> {
  if ((options.file === undefined) === (options.recipe === undefined)) {
    const what = options.file === undefined ? 'no recipe is given' : '-f and --recipe both give a recipe';
    throw new CairnError('invalid_request', what, {
      details: { remedy: 'Give either -f FILE or --recipe NAME; `cairn recipes` lists the names.' },
    });
  }
  const set = parseSetOptions(options.set ?? []);
  return {
    recipe: options.file === undefined ? (options.recipe ?? '') : await readRecipe(options.file),
    ...(options.dataset === undefined ? {} : { dataset: options.dataset }),
    ...(options.name === undefined ? {} : { name: options.name }),
    ...(options.priority === undefined ? {} : { priority: options.priority }),
    ...(options.until === undefined ? {} : { until: stepsOf(options.until) }),
    ...(Object.keys(set).length === 0 ? {} : { set }),
    ...(options.reuse === true ? {} : { noReuse: options.reuse === false ? true : stepsOf(options.reuse) }),
  };
}

function stepsOf(list: string): string[] {
  return list
    .split(',')
    .map((name) => name.trim())
    .filter((name) => name !== '');
}
