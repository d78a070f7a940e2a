import { CairnError, mostWeight } from '@cairn/contract';
import type { ModelFolders } from '@cairn/retrieval';

/** The arguments of `cairn search`: `FOLDER` for one model, `NAME=FOLDER` for each of several; `NAME=NUMBER` for weights. */
export type NamedFolders = {
  queries: string[];
  index: string[];
  references?: string[] | undefined;
  whiten?: string[] | undefined;
  weight?: string[] | undefined;
};

/** The name of a single model that was given none. */
const onlyModel = 'model';

/**
 * The models that the options name, in the order of `--queries`. Each has a folder of every kind, and a weight of 1 by default. Throws `invalid_request`
 * for a model that one of the options lacks or names twice.
 */
export function modelsOf(given: NamedFolders): ModelFolders[] {
  const queries = byName('--queries', given.queries);
  const index = byName('--index', given.index);
  const references = byName('--references', given.references ?? []);
  const weights = byName('--weight', given.weight ?? []);
  const whiten = byName('--whiten', given.whiten ?? []);
  const optional = [['--references', references] as const, ['--whiten', whiten] as const].filter(([, named]) => named.size > 0);
  const sets = [['--index', index] as const, ...optional];
  for (const [option, named] of sets) {
    const absent = [...queries.keys()].find((name) => !named.has(name));
    if (absent !== undefined) throw wrong(`${option} lacks the model ${absent}, which --queries has`);
  }
  for (const [option, named] of [...sets, ['--weight', weights] as const]) {
    const unknown = [...named.keys()].find((name) => !queries.has(name));
    if (unknown !== undefined) throw wrong(`--queries lacks the model ${unknown}, which ${option} has`);
  }
  return [...queries].map(([name, folder]) => ({
    name,
    weight: weightOf(name, weights.get(name)),
    queries: folder,
    index: index.get(name) ?? '',
    references: references.get(name) ?? null,
    whitening: whiten.get(name) ?? null,
  }));
}

function byName(option: string, texts: readonly string[]): Map<string, string> {
  const named = new Map<string, string>();
  for (const text of texts) {
    const [, name = onlyModel, value = text] = /^([^/=]*)=(.*)$/s.exec(text) ?? [];
    if (!/^[\w.-]+$/.test(name)) throw wrong(`${option} ${text}: a model's name has letters, digits and . _ - only (a folder: ./${text})`);
    if (value === '') throw wrong(`${option} ${text} names nothing after the =`);
    if (named.has(name))
      throw wrong(name === onlyModel ? `${option} is given twice without a name` : `${option} is given twice for ${name}`);
    named.set(name, value);
  }
  return named;
}

function weightOf(name: string, text: string | undefined): number {
  const weight = text === undefined ? 1 : Number(text);
  if (text?.trim() !== '' && weight > 0 && weight <= mostWeight) return weight;
  throw wrong(`the weight of ${name} is ${text}, not a number above 0 and at most ${mostWeight}`);
}

function wrong(what: string): CairnError {
  return new CairnError('invalid_request', what, {
    details: { remedy: 'Use --queries, --index and --references once per model, as NAME=FOLDER where there are several.' },
  });
}
