import { type ShardGrid, shardActivities } from '@cairn/contract';
import { formatCount, formatShare } from '../../parts/numbers.ts';
import classes from './extraction.module.css';

/** Those that did the most. */
const shown = 10;

const activityLooks = {
  read: { label: 'Read', colour: 'blue' },
  decode: { label: 'Decode', colour: 'violet' },
  infer: { label: 'Model', colour: 'green' },
  write: { label: 'Write', colour: 'orange' },
} as const satisfies Record<(typeof shardActivities)[number], { label: string; colour: string }>;

/** Where the time of each worker goes: a long wait for bytes or pixels means that the model waits for the storage or the processors. */
export function Workers({ grid }: { grid: ShardGrid }) {
  const workers = grid.attempts.toSorted((a, b) => b.images - a.images).slice(0, shown);
  if (workers.length === 0) return null;
  return (
    <section aria-label="Workers" className={classes.card}>
      <h2>Workers</h2>
      <p className={classes.dim}>
        Where their time goes: waiting for bytes, waiting for decoded images, running the model, writing.
        {grid.attempts.length > shown && ` The ${shown} of ${formatCount(grid.attempts.length)} that did the most.`}
      </p>
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: a part that scrolls must be reachable by keyboard. */}
      <section className={classes.scroll} tabIndex={0} aria-label="Table of workers">
        <table className={classes.table}>
          <thead>
            <tr>
              <th data-number>Worker</th>
              <th>Where</th>
              <th data-number>Shards</th>
              <th data-number>Images</th>
              <th data-number>Images/s</th>
              {shardActivities.map((activity) => (
                <th key={activity} data-number>
                  {activityLooks[activity].label}
                </th>
              ))}
              <th>Share</th>
            </tr>
          </thead>
          <tbody>
            {workers.map(({ id, ordinal, place, isLive, shards, images, seconds }) => {
              const total = shardActivities.reduce((sum, activity) => sum + seconds[activity], 0);
              const shareOf = (activity: (typeof shardActivities)[number]) => (total === 0 ? 0 : seconds[activity] / total);
              return (
                <tr key={id}>
                  <th scope="row" data-number>
                    {ordinal}
                  </th>
                  <td>
                    {place ?? '-'} {!isLive && <span className={classes.dim}>(ended)</span>}
                  </td>
                  <td data-number>{formatCount(shards)}</td>
                  <td data-number>{formatCount(images)}</td>
                  <td data-number>{total === 0 ? '' : formatCount(Math.round(images / total))}</td>
                  {shardActivities.map((activity) => (
                    <td key={activity} data-number>
                      {total === 0 ? '' : formatShare(shareOf(activity))}
                    </td>
                  ))}
                  <td>
                    <span className={classes.shares} aria-hidden="true">
                      {shardActivities.map((activity) => (
                        <span
                          key={activity}
                          data-colour={activityLooks[activity].colour}
                          style={{ width: `${shareOf(activity) * 100}%` }}
                          title={`${activityLooks[activity].label} ${formatShare(shareOf(activity))}`}
                        />
                      ))}
                    </span>
                  </td>
                </tr>
              );
            })}
          </tbody>
        </table>
      </section>
    </section>
  );
}
