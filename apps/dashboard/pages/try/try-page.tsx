import { maxPictureBytes, type PictureSearchView } from '@cairn/contract';
import { Button, NativeSelect } from '@mantine/core';
import { useMutation, useQuery } from '@tanstack/react-query';
import { Link, useNavigate, useSearch } from '@tanstack/react-router';
import { useEffect, useId, useRef, useState } from 'react';
import { useFollow } from '../../app/follow.ts';
import { useMay } from '../../app/me.ts';
import { newestModelsQuery } from '../../app/queries.ts';
import { useServices } from '../../app/services.ts';
import { CopyCall, quoted } from '../../parts/copy-call.tsx';
import { formatBytes, formatCount } from '../../parts/numbers.ts';
import { Picture } from '../../parts/picture.tsx';
import { ProblemNotice } from '../../parts/problem.tsx';
import { useTitle } from '../../parts/title.ts';
import classes from './try.module.css';

const topK = 30;

/** A picture of one's own, and the images that a registered model finds nearest to it. */
export function TryPage() {
  useTitle('Try a picture');
  useFollow('runs');
  const { model } = useSearch({ from: '/signed-in/try' });
  const mayTry = useMay('picture.search');
  return (
    <>
      <div className={classes.heading}>
        <h1>Try a picture</h1>
        <CopyCall
          cli={`cairn similar photo.jpg --model ${quoted(model ?? 'MODEL')}`}
          call={{ method: 'POST', path: `/v1/search?model=${encodeURIComponent(model ?? 'MODEL')}&topK=${topK}` }}
        />
      </div>
      {mayTry ? <Try model={model} /> : <p className={classes.empty}>A search needs a token with the role submitter.</p>}
    </>
  );
}

function Try({ model: named }: { model: string | undefined }) {
  const { client } = useServices();
  const navigate = useNavigate({ from: '/try' });
  const models = useQuery(newestModelsQuery(client));
  const [picture, setPicture] = useState<File | null>(null);
  const search = useMutation({
    mutationFn: ({ file, model }: { file: File; model: string }) => client.searchPicture({ model, topK }, file),
  });
  if (models.data === undefined) {
    return models.error === null ? (
      <p role="status">Loading …</p>
    ) : (
      <ProblemNotice error={models.error} onRetry={() => void models.refetch()} />
    );
  }
  const newest = models.data.items.map(({ name, version }) => `${name}@${version}`);
  const model = named ?? newest[0];
  if (model === undefined) {
    return (
      <p className={classes.empty}>
        No model is registered yet. A run whose recipe ends with a step <code>register</code> makes one: see the{' '}
        <Link to="/runs">runs</Link>.
      </p>
    );
  }
  const start = (file: File, by: string): void => {
    setPicture(file);
    if (file.size <= maxPictureBytes) search.mutate({ file, model: by });
    else search.reset();
  };
  return (
    <>
      <div className={classes.asked}>
        <NativeSelect
          label="Model"
          value={model}
          data={[...new Set([...(named === undefined ? [] : [named]), ...newest])]}
          onChange={(event) => {
            const next = event.currentTarget.value;
            void navigate({ search: { model: next }, replace: true });
            if (picture !== null) start(picture, next);
          }}
        />
        <DropArea picture={picture} onPicture={(file) => start(file, model)} />
      </div>
      {picture !== null && picture.size > maxPictureBytes && (
        <p role="alert">
          {picture.name} has {formatBytes(picture.size)}; a picture may have {formatBytes(maxPictureBytes)}. Make it smaller, for example
          with less quality.
        </p>
      )}
      {search.isPending && <p role="status">Searching … The first search with a model fetches its features, which takes a while.</p>}
      {search.error !== null && (
        <ProblemNotice error={search.error} {...(picture === null ? {} : { onRetry: () => start(picture, model) })} />
      )}
      {search.data !== undefined && <Results view={search.data} />}
    </>
  );
}

function DropArea({ picture, onPicture }: { picture: File | null; onPicture: (file: File) => void }) {
  const [isOver, setIsOver] = useState(false);
  const input = useRef<HTMLInputElement>(null);
  const id = useId();
  const take = (files: FileList | null): void => {
    const [file] = files ?? [];
    if (file !== undefined) onPicture(file);
  };
  return (
    // biome-ignore lint/a11y/noStaticElementInteractions: what is dropped here can be chosen with the button as well.
    <div
      className={classes.drop}
      data-over={isOver}
      onDragOver={(event) => {
        event.preventDefault();
        setIsOver(true);
      }}
      onDragLeave={() => setIsOver(false)}
      onDrop={(event) => {
        event.preventDefault();
        setIsOver(false);
        take(event.dataTransfer.files);
      }}
    >
      {picture !== null && <Preview file={picture} />}
      <div>
        <label htmlFor={id}>
          Drop a picture here, or choose one (JPEG, PNG, WebP, GIF or TIFF, at most {formatBytes(maxPictureBytes)}).
        </label>
        <input
          ref={input}
          id={id}
          className={classes.file}
          type="file"
          accept="image/jpeg,image/png,image/webp,image/gif,image/tiff"
          onChange={(event) => take(event.currentTarget.files)}
        />
        <Button variant="default" onClick={() => input.current?.click()}>
          Choose a picture
        </Button>
        {picture !== null && <p className={classes.dim}>{picture.name}</p>}
      </div>
    </div>
  );
}

/** Drawn, because the content security policy allows pictures of the service alone. */
function Preview({ file }: { file: File }) {
  const canvas = useRef<HTMLCanvasElement>(null);
  useEffect(() => {
    let isOver = false;
    void createImageBitmap(file, { resizeHeight: 240 })
      .then((image) => {
        const context = isOver ? null : canvas.current?.getContext('2d');
        if (!context) return;
        context.canvas.width = image.width;
        context.canvas.height = image.height;
        context.drawImage(image, 0, 0);
      })
      // Browsers do not decode every format that the service does.
      .catch(() => undefined);
    return () => {
      isOver = true;
    };
  }, [file]);
  return <canvas ref={canvas} className={classes.preview} role="img" aria-label={`The picture ${file.name}`} />;
}

function Results({ view: { items, dataset, galleryRows, seconds, model } }: { view: PictureSearchView }) {
  return (
    <section aria-label="Nearest images">
      <p className={classes.dim}>
        The nearest of {formatCount(galleryRows)} images by {model}, in {seconds.toFixed(1)} s. The number is the similarity, at most 1.
      </p>
      <ol className={classes.results}>
        {items.map(({ imageId, rank, score, label }) => (
          <li key={imageId}>
            <span className={classes.picture}>
              <Picture dataset={dataset} imageId={imageId} split="index" size={256} alt={`Result ${rank}: ${imageId}`} />
            </span>
            <span>
              {rank}. {score.toFixed(3)}
            </span>
            <span className={classes.dim}>{label === null ? 'no landmark' : `landmark ${label}`}</span>
            <code>{imageId}</code>
          </li>
        ))}
      </ol>
    </section>
  );
}
