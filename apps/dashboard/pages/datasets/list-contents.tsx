import type { DatasetUsage, LabelSizes } from '@cairn/contract';
import { NativeSelect } from '@mantine/core';
import { useNavigate, useSearch } from '@tanstack/react-router';
import { formatCount } from '../../parts/numbers.ts';
import { Picture } from '../../parts/picture.tsx';
import tableClasses from '../../parts/table.module.css';
import classes from './datasets.module.css';

type List = DatasetUsage['lists'][number];

/** What one of the lists has in it: how many images each label has, and some of the images. */
export function ListContents({ dataset, lists }: { dataset: string; lists: readonly List[] }) {
  const { list: named } = useSearch({ from: '/signed-in/datasets/$name' });
  const navigate = useNavigate({ from: '/datasets/$name' });
  const list = lists.find(({ name }) => name === named) ?? lists[0];
  if (list === undefined) return null;
  return (
    <section aria-labelledby="contents">
      <div className={classes.contents}>
        <h2 id="contents">What is in</h2>
        <NativeSelect
          size="xs"
          aria-label="List"
          value={list.name}
          data={lists.map(({ name }) => name)}
          onChange={({ currentTarget: { value } }) => void navigate({ search: { list: value }, replace: true, resetScroll: false })}
        />
      </div>
      {list.rows === 0 ? (
        <p className={tableClasses.dim}>The list is empty: no image of the dataset belongs in it.</p>
      ) : (
        <div className={classes.halves}>
          <div>
            <h3>Images per label</h3>
            <Sizes list={list} />
          </div>
          <div>
            <h3>Some of its images</h3>
            <Samples dataset={dataset} list={list} />
          </div>
        </div>
      )}
    </section>
  );
}

const earlier = 'It was prepared by an earlier release, which did not record this. A run that prepares it again does.';

function Sizes({ list: { labelSizes, classes: labels, samples } }: { list: List }) {
  if (labelSizes === null)
    return <p className={tableClasses.dim}>{labels === null || samples.length > 0 ? 'The list has no labels.' : earlier}</p>;
  return <Histogram sizes={labelSizes} />;
}

/** Labels by their number of images, in powers of two; every bar has its number beside it. */
function Histogram({ sizes: { bins, least, median, most, largest } }: { sizes: LabelSizes }) {
  const highest = Math.max(...bins.map(({ labels }) => labels), 1);
  return (
    <>
      <p>
        {formatCount(least)} to {formatCount(most)} images a label, half of the labels have at most {formatCount(median)}.
      </p>
      <table className={classes.histogram}>
        <thead>
          <tr>
            <th data-number>Images</th>
            <th data-number>Labels</th>
            <th aria-label="Labels as bars" />
            <th data-number>Rows</th>
          </tr>
        </thead>
        <tbody>
          {bins.map(({ from, to, labels, rows }) => (
            <tr key={from}>
              <th scope="row" data-number>
                {from === to ? formatCount(from) : `${formatCount(from)} to ${formatCount(Math.min(to, most))}`}
              </th>
              <td data-number>{formatCount(labels)}</td>
              <td className={classes.bar}>
                <span style={{ width: `${(labels / highest) * 100}%` }} />
              </td>
              <td data-number>{formatCount(rows)}</td>
            </tr>
          ))}
        </tbody>
      </table>
      <p className={tableClasses.dim}>
        Labels with the most images: {largest.map(({ label, rows }) => `${label} (${formatCount(rows)})`).join(', ')}
      </p>
    </>
  );
}

function Samples({ dataset, list: { samples, name } }: { dataset: string; list: List }) {
  if (samples.length === 0) return <p className={tableClasses.dim}>{earlier}</p>;
  return (
    <ul className={classes.samples} aria-label={`Images of ${name}`}>
      {samples.map(({ imageId, label }) => (
        <li key={imageId}>
          <span className={classes.sample}>
            <Picture dataset={dataset} imageId={imageId} size={256} alt={`The image ${imageId}`} />
          </span>
          <code title={imageId}>{imageId}</code>
          <span className={tableClasses.dim}>{label === null ? 'no label' : `label ${label}`}</span>
        </li>
      ))}
    </ul>
  );
}
