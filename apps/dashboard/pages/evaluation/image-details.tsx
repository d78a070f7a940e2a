import type { LineageView } from '@cairn/contract';
import { Button } from '@mantine/core';
import { Link } from '@tanstack/react-router';
import { useEffect, useId, useRef } from 'react';
import { CopyButton } from '../../parts/copy-call.tsx';
import { formatCount } from '../../parts/numbers.ts';
import { Picture } from '../../parts/picture.tsx';
import classes from './evaluation.module.css';

export type ShownImage = {
  imageId: string;
  kind: 'right' | 'wrong' | 'missed';
  rank: number | null;
  score: number | null;
  label: number | null;
  shard: number | null;
  otherRank: number | null;
  /** The evaluation that found it, if it is the other one. */
  of: string | null;
};

const words = {
  right: 'A ground truth of the query.',
  wrong: 'Not a ground truth of the query.',
  missed: 'A ground truth of the query that is not among the first 100.',
} as const satisfies Record<ShownImage['kind'], string>;

type ImageDetailsProps = { image: ShownImage; lineage: LineageView; queryId: string; onClose: () => void };

/** One image in its size, and the way from it back to what put it there: its label, shard, list, model and checkpoint. */
export function ImageDetails({ image, lineage, queryId, onClose }: ImageDetailsProps) {
  const dialog = useRef<HTMLDialogElement>(null);
  const id = useId();
  useEffect(() => dialog.current?.showModal(), []);
  const { imageId, kind, rank, score, label, shard, otherRank, of } = image;
  const index = lineage.made.find(({ role }) => role !== null && /^index(\.|$)/.test(role));
  return (
    <dialog ref={dialog} className={classes.dialog} aria-labelledby={id} onClose={onClose}>
      <h2 id={id}>
        Image {imageId} <CopyButton text={imageId} label="Copy the id" />
      </h2>
      <p>
        {words[kind]} {of !== null && `Found by ${of}.`}
      </p>
      <div className={classes.pair}>
        <figure>
          <div className={classes.huge}>
            <Picture dataset={lineage.dataset} imageId={queryId} split="test" size={512} alt={`The query ${queryId}`} />
          </div>
          <figcaption>The query {queryId}</figcaption>
        </figure>
        <figure>
          <div className={classes.huge}>
            <Picture dataset={lineage.dataset} imageId={imageId} split="index" size={512} alt={`The image ${imageId}`} />
          </div>
          <figcaption>{imageId}</figcaption>
        </figure>
      </div>
      <dl className={classes.facts}>
        {rank !== null && score !== null && (
          <>
            <dt>Rank</dt>
            <dd>
              {rank}, with a similarity of {score.toFixed(4)}
            </dd>
          </>
        )}
        {otherRank !== null && (
          <>
            <dt>In the other</dt>
            <dd>rank {otherRank}</dd>
          </>
        )}
        <dt>Label</dt>
        <dd>{label === null ? 'without a landmark in the list' : `landmark ${label}`}</dd>
        {index !== undefined && (
          <>
            <dt>Shard</dt>
            <dd>
              <Link
                to="/runs/$runId"
                params={{ runId: index.run.id }}
                search={{ tab: 'extraction', step: index.step, ...(shard === null ? {} : { shard }) }}
              >
                {shard === null ? 'not known' : formatCount(shard)} of {index.step}
              </Link>
              {index.list !== null && <>, of the list {index.list}</>}
            </dd>
          </>
        )}
        <Origin lineage={lineage} title="List" kind="lists" />
        <Origin lineage={lineage} title="Model" kind="model" />
        <Origin lineage={lineage} title="Checkpoint" kind="checkpoint" />
      </dl>
      <div className={classes.buttons}>
        <Button variant="default" onClick={() => dialog.current?.close()}>
          Close
        </Button>
      </div>
    </dialog>
  );
}

type OriginProps = { lineage: LineageView; title: string; kind: LineageView['made'][number]['kind'] };

/** The step that made what the search depends on: of several checkpoints the one that the model was exported from. */
function Origin({ lineage, title, kind }: OriginProps) {
  const made = lineage.made.find((one) => one.kind === kind);
  if (made === undefined) return null;
  return (
    <>
      <dt>{title}</dt>
      <dd>
        <Link to="/runs/$runId" params={{ runId: made.run.id }} search={{ step: made.step }}>
          {made.step} of {made.run.name}
        </Link>
      </dd>
    </>
  );
}
