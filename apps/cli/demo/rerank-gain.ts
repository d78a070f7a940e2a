import type { CairnClient } from '@cairn/client';
import {
  type ArtifactView,
  type Comparison,
  needsReferences,
  neighboursDetails,
  type RunView,
  type StepView,
  stepSettings,
} from '@cairn/contract';
import { formatCount } from '../output/units.ts';

/** An evaluation of several models that were searched together, and how. */
export type SearchedTogether = {
  evaluation: StepView;
  models: number;
  /** `off`, or how votes change similarities. */
  mode: string;
  /** The list whose images vote; null where none do. */
  references: string | null;
  /** Of the references, how many are images of the index; null while their counts are not known. */
  ofIndex: { shared: number; rows: number } | null;
};

/** A rerank's evaluation, and what it gains over the same search without a rerank. */
export type RerankGain = { searched: SearchedTogether; comparison: Comparison };

/** The evaluations of searches of several models together, that without a rerank first. */
export function searchedTogether(steps: readonly StepView[], artifacts: ReadonlyMap<string, ArtifactView>): SearchedTogether[] {
  return steps
    .flatMap((evaluation): SearchedTogether[] => {
      if (evaluation.kind !== 'evaluate') return [];
      const search = steps.find(({ name, kind }) => kind === 'rerank' && evaluation.needs.includes(name));
      const settings = search === undefined ? undefined : stepSettings.rerank.safeParse(search.settings).data;
      if (search === undefined || settings === undefined) return [];
      const votes = needsReferences(settings.rerank);
      const details = search.artifact === null ? undefined : artifacts.get(search.artifact.id)?.details;
      const counts = neighboursDetails.safeParse(details).data?.references;
      return [
        {
          evaluation,
          models: Object.keys(settings.weights).length,
          mode: settings.rerank.mode,
          references: votes ? settings.references : null,
          ofIndex: counts == null ? null : { shared: counts.ofGallery, rows: counts.rows },
        },
      ];
    })
    .sort((a, b) => Number(b.mode === 'off') - Number(a.mode === 'off'));
}

/** Compares each evaluation of a rerank with that of the same search without one; empty for a run that does not have both. */
export async function rerankGains(
  client: CairnClient,
  run: RunView,
  artifacts: ReadonlyMap<string, ArtifactView>,
  signal: AbortSignal,
): Promise<RerankGain[]> {
  const [plain, ...others] = searchedTogether(run.stepViews, artifacts);
  const before = plain?.mode === 'off' ? plain.evaluation.artifact : null;
  if (before == null) return [];
  const gains: RerankGain[] = [];
  for (const searched of others) {
    const after = searched.evaluation.artifact;
    if (after === null) continue;
    const { comparison } = await client.compareEvaluations({ a: before.id, b: after.id, show: 0 }, { signal });
    gains.push({ searched, comparison });
  }
  return gains;
}

/**
 * What the rerank gains, and how much of it is the self-match: references that are images of the index vote with the labels from which the
 * ground truths are derived. Votes of references without them show what remains.
 */
export function gainSentences(gains: readonly RerankGain[]): string[] {
  const known = gains.flatMap(({ searched, comparison: { all } }) => (all === null ? [] : [{ searched, all }]));
  const own = known.find(({ searched }) => (searched.ofIndex?.shared ?? 0) > 0);
  const foreign = known.find(({ searched }) => searched.ofIndex?.shared === 0);
  const change = ({ all }: (typeof known)[number]): string =>
    `${points(all.difference)} points of mAP@100 (95 % interval ${points(all.low)} to ${points(all.high)})`;
  const lines = known.map((gain) => {
    const { references, mode, ofIndex } = gain.searched;
    const voters = references === null ? '' : ` with votes of ${references}`;
    const which =
      ofIndex === null || references === null
        ? ''
        : `, of whose ${formatCount(ofIndex.rows)} images ${ofIndex.shared === 0 ? 'none is' : `${formatCount(ofIndex.shared)} are`} in the index`;
    return `Rerank ${mode}${voters}${which}: ${change(gain)} against no rerank.`;
  });
  if (own === undefined || foreign === undefined) return lines;
  const [total, rest] = [own.all.difference, foreign.all.difference];
  if (total <= rest) return [...lines, 'The self-match, images of the index that vote with their own labels, gains nothing here.'];
  const size = (share: number): string => (share * 100).toFixed(1);
  const isChance = foreign.all.low <= 0 && foreign.all.high >= 0;
  return [
    ...lines,
    `So ${size(total - rest)} of the ${size(total)} points are the self-match: images of the index vote with their own labels, from which the ground truths come.${isChance ? ' What remains cannot be told from chance.' : ''}`,
  ];
}

const points = (share: number): string => `${share < 0 ? '' : '+'}${(share * 100).toFixed(1)}`;
