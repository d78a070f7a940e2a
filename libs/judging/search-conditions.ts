import {
  featuresDetails,
  listsDetails,
  needsReferences,
  neighboursDetails,
  originOf,
  type RerankSettings,
  usesKReciprocal,
} from '@cairn/contract';
import { loadLineage, type Transaction } from '@cairn/db';

/** How an evaluation searched, by the names of settings; what is not known is left out. */
export type SearchConditions = ReadonlyMap<string, string>;

/** From what made the evaluation. Empty where no run of this service made it. */
export async function searchConditions(db: Transaction, projectId: string, evaluationId: string): Promise<SearchConditions> {
  const made = await loadLineage(db, projectId, evaluationId);
  const search = made.find(({ kind }) => kind === 'neighbours');
  if (search === undefined) return new Map();
  const ids = [search.artifactId, ...search.reads.map(({ artifactId }) => artifactId)];
  const rows = await db.artifact.findMany({ where: { id: { in: ids } }, select: { id: true, details: true } });
  const details = new Map(rows.map((row) => [row.id, row.details]));
  const read = search.reads.map(({ role, artifactId }) => ({ role, details: details.get(artifactId) }));
  const named = (name: string) => read.filter(({ role }) => role === name || role.startsWith(`${name}.`));
  const { rerank, topK } = neighboursDetails.safeParse(details.get(search.artifactId)).data ?? {};
  const lists = listsDetails.safeParse(named('lists')[0]?.details).data?.lists ?? {};
  const references = named('references').flatMap((one) => {
    const features = featuresDetails.safeParse(one.details).data;
    return features === undefined ? [] : [`${features.list} ${lists[features.list]?.sha256?.slice(0, 16) ?? `of ${features.rows} images`}`];
  });
  const preprocessing = [...named('index'), ...named('query')].flatMap((one) => originOf(one.details).preprocessing ?? []);
  const known = (name: string, values: readonly string[]): [string, string][] =>
    values.length === 0 ? [] : [[name, [...new Set(values)].sort().join(' and ')]];
  return new Map([
    ...rerankConditions(rerank ?? null, named('whitening').length > 0),
    ...known('references', references),
    ...known('preprocessing', preprocessing),
    ...known('topK', topK === undefined ? [] : [String(Math.min(topK, scored))]),
  ]);
}

/** Neighbours that a score looks at. */
const scored = 100;

/** The settings that had an effect; without any a search is like one with the mode `off`. */
function rerankConditions(rerank: RerankSettings | null, isWhitened: boolean): [string, string][] {
  const setting = (name: keyof RerankSettings): [string, string] => [`rerank.${name}`, JSON.stringify(rerank?.[name] ?? null)];
  const some = (names: readonly (keyof RerankSettings)[], isUsed: boolean) => (isUsed ? names.map(setting) : []);
  const votes = ['votes', 'alpha', 'beta', 'k1', 'k2', 'voteNeighbours', 'voteLambda', 'boostKReciprocal'] as const;
  const { expandQueries = 0, augmentIndex = 0 } = rerank ?? {};
  return [
    ['rerank.mode', rerank?.mode ?? 'off'],
    ...some(votes, rerank !== null && needsReferences(rerank)),
    ...some(['k1', 'k2', 'lambda'], rerank !== null && usesKReciprocal(rerank)),
    ['rerank.whitenTo', isWhitened ? String(rerank?.whitenTo ?? 'all') : 'off'],
    ['rerank.expandQueries', String(expandQueries)],
    ...some(['expandQueriesAlpha'], expandQueries > 0),
    ['rerank.augmentIndex', String(augmentIndex)],
    ...some(['augmentIndexAlpha'], augmentIndex > 0),
    ['rerank.localMatching', rerank?.localMatching == null ? 'off' : JSON.stringify(rerank.localMatching)],
  ];
}

/** What two searches did differently, as far as both are known. */
export function differingConditions(a: SearchConditions, b: SearchConditions): { name: string; a: string; b: string }[] {
  return [...a].flatMap(([name, value]) => {
    const other = b.get(name);
    return other === undefined || other === value ? [] : [{ name, a: value, b: other }];
  });
}
