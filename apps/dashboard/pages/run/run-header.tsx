import { labelTexts, originText, type RunView } from '@cairn/contract';
import { Link } from '@tanstack/react-router';
import { Commit } from '../../parts/commit.tsx';
import { CopyButton, CopyCall } from '../../parts/copy-call.tsx';
import { type Fact, Facts } from '../../parts/facts.tsx';
import { runLooks, verdictLooks } from '../../parts/looks.ts';
import { formatDuration, formatGpuHours, formatMap, formatShare } from '../../parts/numbers.ts';
import { ProgressBar } from '../../parts/progress-bar.tsx';
import { StateBadge } from '../../parts/state-badge.tsx';
import { Ago, useNow } from '../../parts/time.tsx';
import classes from './run.module.css';
import { RunActions } from './run-actions.tsx';

/** What a run is and how it stands. `isBrief` leaves the room of a narrow window to what is below. */
export function RunHeader({ run, isBrief }: { run: RunView; isBrief: boolean }) {
  const { best, last } = run.mapAt100;
  const facts: Fact[] = [
    ['Steps', `${run.steps.done} of ${run.steps.total}${run.steps.reused > 0 ? `, ${run.steps.reused} reused` : ''}`],
    [
      'mAP@100',
      best === null || last === null
        ? run.finishedAt === null
          ? 'none yet'
          : 'none'
        : best === last
          ? formatMap(best)
          : `best ${formatMap(best)}, last ${formatMap(last)}`,
    ],
    ['GPU time', formatGpuHours(run.gpuSeconds)],
    ['Submitted', <Ago key="submitted" at={run.createdAt} />],
    [run.finishedAt === null ? 'Running for' : 'Took', <Took key="took" run={run} />],
    ['Recipe', run.recipe],
    ['Dataset', run.dataset],
    ['Owner', run.owner],
    ...contextFacts(run),
    ...(run.priority === 0 ? [] : [['Priority', String(run.priority)] satisfies Fact]),
    ...(run.verdict === 'none' ? [] : [['Quality gate', verdictLooks[run.verdict].label] satisfies Fact]),
  ];
  return (
    <header className={classes.header} data-brief={isBrief}>
      <div className={classes.title}>
        <h1>{run.name}</h1>
        <StateBadge look={runLooks[run.state]} />
        <span className={classes.id}>
          <code>{run.id}</code> <CopyButton text={run.id} label="Copy the id" />
        </span>
        <div className={classes.actions}>
          <RunActions run={run} />
          <CopyCall cli={`cairn show ${run.id}`} call={{ path: `/v1/runs/${run.id}` }} />
        </div>
      </div>
      <div className={classes.progress}>
        <ProgressBar share={run.share} colour={runLooks[run.state].colour} label={`${run.name} is ${formatShare(run.share)} done`} />
        <span>{formatShare(run.share)}</span>
        {run.pinnedBy !== null && <span className={classes.now}>Pinned by {run.pinnedBy}</span>}
        {run.retiredAt !== null && (
          <span className={classes.now}>
            Results removed by the retention policy <Ago at={run.retiredAt} />; a retry makes them again
          </span>
        )}
        {run.now !== null && run.state !== 'failed' && <span className={classes.now}>{run.now}</span>}
      </div>
      <Facts facts={facts} />
    </header>
  );
}

/** What started it, its commit, labels and group, where it has them. */
function contextFacts({ origin, source, labels, group }: RunView): Fact[] {
  const texts = labelTexts(labels);
  return [
    ...(origin.kind === 'person' ? [] : [['Started by', originText(origin)] satisfies Fact]),
    ...(source === null
      ? []
      : [
          [
            source.pullRequest === null ? 'Commit' : `Pull request ${source.pullRequest}`,
            <Commit key="commit" source={source} />,
          ] satisfies Fact,
        ]),
    ...(texts.length === 0 ? [] : [['Labels', <Labels key="labels" texts={texts} />] satisfies Fact]),
    ...(group === null ? [] : [['Group', group] satisfies Fact]),
  ];
}

/** Each leads to the runs that have it. */
function Labels({ texts }: { texts: readonly string[] }) {
  return texts.map((text, index) => (
    <span key={text}>
      {index > 0 && ', '}
      <Link to="/runs" search={{ label: [text] }}>
        {text}
      </Link>
    </span>
  ));
}

/** How long the run has taken since it began, or took. */
function Took({ run }: { run: RunView }) {
  const now = useNow();
  if (run.startedAt === null) return 'not started';
  return formatDuration((run.finishedAt === null ? now : Date.parse(run.finishedAt)) - Date.parse(run.startedAt));
}
