import type { LineageView, QueryResults, QueryScoreRow, RankedImageView } from '@cairn/contract';
import { Button } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { useSearch } from '@tanstack/react-router';
import { useState } from 'react';
import { keys } from '../../app/query-keys.ts';
import { useServices } from '../../app/services.ts';
import { Icon } from '../../parts/icon.tsx';
import type { Look } from '../../parts/looks.ts';
import { formatCount, formatMap } from '../../parts/numbers.ts';
import { Picture } from '../../parts/picture.tsx';
import { ProblemNotice } from '../../parts/problem.tsx';
import classes from './evaluation.module.css';
import { ImageDetails, type ShownImage } from './image-details.tsx';

/** Of a result: whether it is a ground truth; of a ground truth: whether it was found. */
const resultLooks = {
  right: { label: 'Right', icon: 'check', colour: 'green' },
  wrong: { label: 'Wrong', icon: 'cross', colour: 'red' },
  missed: { label: 'Missed', icon: 'question', colour: 'orange' },
} as const satisfies Record<string, Look>;
export type ResultKind = keyof typeof resultLooks;

type QueryPartProps = {
  of: string;
  lineage: LineageView;
  score: QueryScoreRow;
  /** Undefined while it is loaded. */
  results: QueryResults | undefined;
  /** The evaluation to compare with. */
  otherName: string | null;
};

/** A query with what was found for it, what was missed, and beside it what another evaluation found. */
export function QueryPart({ of, lineage, score, results, otherName }: QueryPartProps) {
  const [isLong, setIsLong] = useState(false);
  const [shown, setShown] = useState<ShownImage | null>(null);
  const long = useAllResults(of, score.queryId, isLong);
  const { items, missed, missedTotal, otherItems } = long.data?.queries[0] ??
    results ?? { items: [], missed: [], missedTotal: 0, otherItems: null };
  const { dataset } = lineage;
  const strip = (name: string, images: readonly RankedImageView[], isOther: boolean) => (
    <Strip name={name}>
      {images.map((image) => (
        <Result
          key={image.imageId}
          dataset={dataset}
          imageId={image.imageId}
          kind={image.isRight ? 'right' : 'wrong'}
          note={String(image.rank)}
          move={otherItems === null || isOther ? null : moveOf(image)}
          onShow={() => setShown({ ...image, kind: image.isRight ? 'right' : 'wrong', of: isOther ? otherName : null })}
        />
      ))}
    </Strip>
  );
  return (
    <li className={classes.query} aria-label={`Query ${score.queryId}`}>
      <div className={classes.asked}>
        <div className={classes.large}>
          <Picture dataset={dataset} imageId={score.queryId} split="test" size={256} alt={`The query ${score.queryId}`} />
        </div>
        <Score score={score} />
      </div>
      <div className={classes.found}>
        {results === undefined ? (
          <p className={classes.dim} role="status">
            Loading …
          </p>
        ) : (
          <>
            {otherItems !== null && <h3>This evaluation</h3>}
            {strip(`First results of ${score.queryId}`, items, false)}
            {otherItems !== null && (
              <>
                <h3>{otherName}</h3>
                {strip(`First results of ${score.queryId} in ${otherName}`, otherItems, true)}
              </>
            )}
            {missed.length > 0 && (
              <details className={classes.missed}>
                <summary>
                  {formatCount(missedTotal)} of {formatCount(score.groundTruths)} ground truths missed
                </summary>
                <Strip name={`Missed ground truths of ${score.queryId}`}>
                  {missed.slice(0, isLong ? undefined : 20).map((image) => (
                    <Result
                      key={image.imageId}
                      dataset={dataset}
                      imageId={image.imageId}
                      kind="missed"
                      note={image.otherRank === null ? '' : `${image.otherRank} in the other`}
                      move={null}
                      onShow={() => setShown({ ...image, kind: 'missed', rank: null, score: null, of: null })}
                    />
                  ))}
                </Strip>
              </details>
            )}
            {long.error !== null && <ProblemNotice error={long.error} onRetry={() => void long.refetch()} />}
            <Button
              variant="default"
              size="compact-xs"
              loading={isLong && long.data === undefined && long.error === null}
              onClick={() => setIsLong(!isLong)}
            >
              {isLong ? 'Show the first 10' : 'Show the first 100'}
            </Button>
          </>
        )}
      </div>
      {shown !== null && <ImageDetails image={shown} lineage={lineage} queryId={score.queryId} onClose={() => setShown(null)} />}
    </li>
  );
}

function useAllResults(of: string, queryId: string, isWanted: boolean) {
  const { client } = useServices();
  const { against } = useSearch({ from: '/signed-in/evaluation' });
  const all = useQuery({
    queryKey: keys.evaluation(of, 'neighbours', against, queryId, 'all'),
    queryFn: ({ signal }) => client.listNeighbours({ of, against, query: [queryId], limit: 100 }, { signal }),
    enabled: isWanted,
  });
  return isWanted ? all : { ...all, data: undefined, error: null };
}

const points = (share: number): string => `${share < 0 ? '−' : '+'}${Math.abs(share * 100).toFixed(1)}`;

function Score({ score }: { score: QueryScoreRow }) {
  const {
    queryId,
    usage,
    averagePrecision,
    averagePrecisionReference: reference,
    hits,
    groundTruths,
    firstHit,
    before,
    difference,
  } = score;
  return (
    <dl className={classes.score}>
      <dt>Query</dt>
      <dd>
        <code>{queryId}</code> ({usage})
      </dd>
      <dt>AP, Kaggle</dt>
      <dd>
        {formatMap(averagePrecision)}
        {before !== null && difference !== null && (
          <>
            {' '}
            <span className={classes.change} data-colour={difference > 0 ? 'green' : difference < 0 ? 'red' : 'gray'}>
              {points(difference)} from {formatMap(before)}
            </span>
          </>
        )}
      </dd>
      <dt>AP, eval_cbir</dt>
      <dd>{reference === null ? 'not scored' : formatMap(reference)}</dd>
      <dt>Found</dt>
      <dd>
        {formatCount(hits)} of {formatCount(groundTruths)}
        {firstHit !== null && `, first at ${formatCount(firstHit)}`}
      </dd>
    </dl>
  );
}

const Strip = ({ name, children }: { name: string; children: React.ReactNode }) => (
  <ol className={classes.strip} aria-label={name}>
    {children}
  </ol>
);

type ResultProps = {
  dataset: string | null;
  imageId: string;
  kind: ResultKind;
  note: string;
  /** How its rank differs from that in the other evaluation. */
  move: { text: string; says: string } | null;
  onShow: () => void;
};

function Result({ dataset, imageId, kind, note, move, onShow }: ResultProps) {
  const look = resultLooks[kind];
  return (
    <li>
      <button
        type="button"
        className={classes.result}
        data-colour={look.colour}
        data-kind={kind}
        onClick={onShow}
        title={`${look.label}${note === '' ? '' : `, ${note}`}: ${imageId}${move === null ? '' : `; ${move.says}`}`}
      >
        <span className={classes.small}>
          <Picture dataset={dataset} imageId={imageId} split="index" size={256} alt={`${look.label}: ${imageId}`} />
        </span>
        <span className={classes.mark}>
          <Icon name={look.icon} size={12} />
          {note}
          {move !== null && <span className={classes.move}>{move.text}</span>}
        </span>
      </button>
    </li>
  );
}

function moveOf({ rank, otherRank }: RankedImageView): ResultProps['move'] {
  if (otherRank === null) return { text: 'new', says: 'not among the first 100 in the other' };
  if (otherRank === rank) return null;
  const by = Math.abs(otherRank - rank);
  return otherRank > rank
    ? { text: `↑${by}`, says: `${by} higher than in the other, where it is ${otherRank}` }
    : { text: `↓${by}`, says: `${by} lower than in the other, where it is ${otherRank}` };
}
