import { useQuery } from '@tanstack/react-query';
import { useEffect, useRef, useState } from 'react';
import { keys } from '../app/query-keys.ts';
import { useServices } from '../app/services.ts';
import { Icon } from './icon.tsx';
import classes from './picture.module.css';

type PictureProps = {
  /** NAME@VERSION; null where it is not known. */
  dataset: string | null;
  imageId: string;
  size: 256 | 512 | 1024;
  split?: 'train' | 'index' | 'test';
  alt: string;
};

/** What is about to be scrolled into sight. */
const nearby = { rootMargin: '200px' };

/** An image of a dataset, loaded when it comes into sight. One that cannot be shown says why. */
export function Picture({ dataset, imageId, size, split, alt }: PictureProps) {
  const { client, pictures } = useServices();
  const [hasFailed, setHasFailed] = useState(false);
  const [isTurn, setIsTurn] = useState(false);
  const place = useRef<HTMLImageElement>(null);
  const end = useRef<() => void>(() => undefined);
  useEffect(() => {
    const image = place.current;
    if (image === null || isTurn) return;
    const observer = new IntersectionObserver((entries) => {
      end.current();
      if (entries.some(({ isIntersecting }) => isIntersecting)) end.current = pictures.take(() => setIsTurn(true));
    }, nearby);
    observer.observe(image);
    return () => observer.disconnect();
  }, [isTurn, pictures]);
  useEffect(() => () => end.current(), []);
  if (dataset === null) return <NoPicture why="The dataset is not known." />;
  const query = { size, ...(split === undefined ? {} : { split }) };
  if (hasFailed) return <FailedPicture dataset={dataset} imageId={imageId} query={query} onRetry={() => setHasFailed(false)} />;
  const address = client.imageAddress(dataset, imageId, query);
  return (
    <img
      ref={place}
      className={classes.picture}
      {...(isTurn ? { src: address } : {})}
      alt={alt}
      decoding="async"
      onLoad={() => end.current()}
      onError={() => {
        end.current();
        setHasFailed(true);
      }}
    />
  );
}

type FailedProps = {
  dataset: string;
  imageId: string;
  query: { size: 256 | 512 | 1024; split?: 'train' | 'index' | 'test' };
  onRetry: () => void;
};

/** The browser does not tell why an image was refused, so it is asked for once more. */
function FailedPicture({ dataset, imageId, query, onRetry }: FailedProps) {
  const { client } = useServices();
  const reason = useQuery({
    queryKey: keys.noImage(dataset, imageId, query.split),
    queryFn: ({ signal }) => client.whyNoImage(dataset, imageId, query, signal),
    retry: false,
    staleTime: Number.POSITIVE_INFINITY,
  });
  if (reason.data === null) return <NoPicture why="It could not be loaded." onRetry={onRetry} />;
  return <NoPicture why={reason.data ?? (reason.error === null ? 'Loading …' : 'It could not be loaded.')} />;
}

function NoPicture({ why, onRetry }: { why: string; onRetry?: () => void }) {
  return (
    <span className={classes.none} title={why}>
      <Icon name="warning" />
      <span>{why}</span>
      {onRetry !== undefined && (
        <button type="button" onClick={onRetry}>
          Try again
        </button>
      )}
    </span>
  );
}
