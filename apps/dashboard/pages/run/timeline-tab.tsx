import type { RunTimeline, RunView } from '@cairn/contract';
import { useMediaQuery } from '@mantine/hooks';
import { useQuery } from '@tanstack/react-query';
import { Link } from '@tanstack/react-router';
import type { CSSProperties } from 'react';
import { useTimeZone } from '../../app/preferences.ts';
import { keys } from '../../app/query-keys.ts';
import { useServices } from '../../app/services.ts';
import { Icon } from '../../parts/icon.tsx';
import { attemptLooks, stepLooks } from '../../parts/looks.ts';
import { formatCount, formatDuration } from '../../parts/numbers.ts';
import { ProblemNotice } from '../../parts/problem.tsx';
import { exactTime } from '../../parts/time.tsx';
import classes from './timeline.module.css';
import { layOutTimeline, marks, maxLanes, type TimelineRow } from './timeline-layout.ts';

const refreshMs = 5_000;
const labelLimit = 0.9;
const maxRows = 60;

/** When each step waited and each attempt worked. A bar leads to the attempt's log. */
export default function TimelineTab({ run }: { run: RunView }) {
  const { client } = useServices();
  const timeline = useQuery({
    queryKey: keys.runPart(run.id, 'timeline'),
    queryFn: ({ signal }) => client.getTimeline(run.id, { signal }),
    // Open bars grow.
    refetchInterval: run.finishedAt === null ? refreshMs : false,
  });
  if (timeline.data === undefined) {
    return timeline.error === null ? (
      <p role="status">Loading …</p>
    ) : (
      <ProblemNotice error={timeline.error} onRetry={() => void timeline.refetch()} />
    );
  }
  return <Timeline timeline={timeline.data} />;
}

function Timeline({ timeline }: { timeline: RunTimeline }) {
  const [zone] = useTimeZone();
  const isNarrow = useMediaQuery('(max-width: 52rem)', undefined, { getInitialValueInEffect: false });
  const { rows, beginMs, endMs } = layOutTimeline(timeline);
  const span = endMs - beginMs;
  if (timeline.attempts.length === 0 && rows.every(({ waits }) => waits.length === 0)) return <p>No step has started yet.</p>;
  const begun = rows.filter(({ waits, lanes }) => waits.length > 0 || lanes.length > 0);
  // A small graph is shown whole; of a large one, the steps that began last.
  const shown = rows.length <= maxRows ? rows : begun.slice(-maxRows);
  const all = marks(span, isNarrow ? 4 : 8);
  return (
    <>
      <p className={classes.legend}>
        From {exactTime(new Date(beginMs).toISOString(), zone)}, {formatDuration(span)} in all.{' '}
        <span className={classes.sample} data-kind="waits" /> waits for room{' '}
        <span className={classes.sample} data-kind="attempt" data-colour="blue" /> an attempt, by its state
        {timeline.attemptsTotal > timeline.attempts.length &&
          `; the newest ${formatCount(timeline.attempts.length)} of ${formatCount(timeline.attemptsTotal)} attempts`}
        {shown.length < rows.length && `; ${formatCount(shown.length)} of ${formatCount(rows.length)} steps, those that began last`}
      </p>
      <div className={classes.chart}>
        <div className={classes.axis} aria-hidden="true">
          {all.map((ms) => (
            // A label at the very end would not fit.
            <span key={ms} style={{ left: `${(ms / span) * 100}%` }}>
              {ms / span < labelLimit && formatDuration(ms)}
            </span>
          ))}
        </div>
        {shown.map((row) => (
          <Row key={row.step.id} row={row} lines={all.map((ms) => ms / span)} />
        ))}
      </div>
    </>
  );
}

function Row({ row: { step, waits, lanes, hidden }, lines }: { row: TimelineRow; lines: readonly number[] }) {
  const look = stepLooks[step.state];
  return (
    <div className={classes.row}>
      <div className={classes.label} data-colour={look.colour}>
        <Icon name={look.icon} size={13} />
        <Link from="/runs/$runId" search={{ step: step.name }} resetScroll={false}>
          {step.name}
        </Link>
        <span className={classes.state}>{look.label}</span>
      </div>
      <div className={classes.lanes} style={{ height: `${Math.max(1, lanes.length) * 1.4 + 0.3}rem` }}>
        {lines.map((at) => (
          <i key={at} className={classes.line} style={{ left: `${at * 100}%` }} />
        ))}
        {waits.map((bar) => (
          <span key={bar.from} className={classes.bar} data-kind="waits" title={`${step.name} waited for room`} style={placeOf(bar, 0)} />
        ))}
        {lanes.flatMap((lane, index) =>
          lane.map(({ from, to, what }) => {
            const { label, icon, colour } = attemptLooks[what.state];
            const said = describe(step.name, what, label);
            return (
              <Link
                key={what.id}
                from="/runs/$runId"
                search={{ tab: 'logs', step: step.name, attempt: what.id }}
                className={classes.bar}
                data-kind="attempt"
                data-colour={colour}
                title={said}
                aria-label={said}
                style={placeOf({ from, to }, index)}
              >
                <Icon name={icon} size={11} /> {what.ordinal}
              </Link>
            );
          }),
        )}
      </div>
      {hidden > 0 && (
        <p className={classes.hidden}>
          and {formatCount(hidden)} more attempts at the same times as these {maxLanes}
        </p>
      )}
    </div>
  );
}

/** However short, a bar stays within the chart. */
const placeOf = ({ from, to }: { from: number; to: number }, lane: number): CSSProperties => ({
  left: `min(${from * 100}%, 100% - 0.6rem)`,
  width: `${(to - from) * 100}%`,
  top: `${lane * 1.4 + 0.15}rem`,
});

function describe(step: string, attempt: RunTimeline['attempts'][number], label: string): string {
  const parts = [`${step}, attempt ${attempt.ordinal}: ${label.toLowerCase()}`];
  if (attempt.purpose === 'finalize') parts.push('makes the artifact');
  if (attempt.startedAt !== null && attempt.endedAt !== null) {
    parts.push(formatDuration(Date.parse(attempt.endedAt) - Date.parse(attempt.startedAt)));
  }
  if (attempt.place !== null) parts.push(`on ${attempt.place}`);
  if (attempt.failure !== null) parts.push(`${attempt.failure.cause}: ${attempt.failure.message}`);
  if (attempt.stopReason !== null) parts.push(`stopped: ${attempt.stopReason}`);
  if (attempt.resumedFrom !== null) parts.push(`resumed from step ${attempt.resumedFrom.step}`);
  return parts.join(', ');
}
