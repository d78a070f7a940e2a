import { type GcResult, nextCollectionOf, type RetentionView, retentionSentences } from '@cairn/contract';
import { Button } from '@mantine/core';
import { useMutation, useQuery } from '@tanstack/react-query';
import { Link } from '@tanstack/react-router';
import { useState } from 'react';
import { useFollow } from '../../app/follow.ts';
import { useMay } from '../../app/me.ts';
import { retentionQuery } from '../../app/queries.ts';
import { useServices } from '../../app/services.ts';
import { Answer } from '../../parts/answer.tsx';
import { CopyCall } from '../../parts/copy-call.tsx';
import { Marked } from '../../parts/marked.tsx';
import { formatBytes, formatCount, formatCounted } from '../../parts/numbers.ts';
import { ProblemNotice } from '../../parts/problem.tsx';
import { ProgressBar } from '../../parts/progress-bar.tsx';
import tableClasses from '../../parts/table.module.css';
import { Table } from '../../parts/table.tsx';
import { Ago, Until } from '../../parts/time.tsx';
import { useTitle } from '../../parts/title.ts';
import { PolicyDialog } from './policy-dialog.tsx';
import classes from './storage.module.css';

/** Rows of each table: the largest. */
const shown = 25;

/** How long results are kept, and what a collection would remove now. */
export function RetentionPage() {
  useTitle('Retention');
  useFollow('runs');
  const { client } = useServices();
  const mayCollect = useMay('garbage.collect');
  const policy = useQuery(retentionQuery(client));
  return (
    <div className={classes.page}>
      <div className={tableClasses.heading}>
        <h1>Retention</h1>
        <CopyCall cli="cairn gc --dry-run" call={{ method: 'POST', path: '/v1/gc', body: { dryRun: true } }} />
      </div>
      <Answer of={policy}>{(data) => <Policy policy={data} />}</Answer>
      {mayCollect ? <DryRun /> : <p className={tableClasses.dim}>What would go and what stays is shown to admins.</p>}
    </div>
  );
}

function Policy({ policy }: { policy: RetentionView }) {
  const mayChange = useMay('retention.manage');
  const [asks, setAsks] = useState(false);
  const { setBy, updatedAt } = policy;
  const collectsAt = nextCollectionOf(policy);
  return (
    <section aria-labelledby="policy">
      <h2 id="policy">Policy</h2>
      <ul>
        {retentionSentences(policy).map((sentence) => (
          <li key={sentence}>
            <Marked text={sentence} />
          </li>
        ))}
      </ul>
      {setBy !== null && (
        <p className={tableClasses.dim}>
          Set by {setBy} {updatedAt !== null && <Ago at={updatedAt} />}.{' '}
          {collectsAt !== null && (
            <>
              The leader collects next <Until at={collectsAt.toISOString()} />.
            </>
          )}
        </p>
      )}
      {mayChange && (
        <p>
          <Button variant="default" onClick={() => setAsks(true)}>
            Change …
          </Button>
        </p>
      )}
      {asks && <PolicyDialog policy={policy} onClose={() => setAsks(false)} />}
    </section>
  );
}

/** Asked for on request: it looks at every artifact. */
function DryRun() {
  const { client } = useServices();
  const dryRun = useMutation({ mutationFn: () => client.collectGarbage({ dryRun: true }) });
  return (
    <section aria-labelledby="dry-run">
      <div className={classes.ask}>
        <h2 id="dry-run">What would go now</h2>
        <Button variant="default" loading={dryRun.isPending} onClick={() => dryRun.mutate()}>
          {dryRun.data === undefined ? 'Look' : 'Look again'}
        </Button>
      </div>
      {dryRun.error !== null && <ProblemNotice error={dryRun.error} />}
      {dryRun.data !== undefined && <Foreseen result={dryRun.data} />}
    </section>
  );
}

function Foreseen({ result }: { result: GcResult }) {
  const { artifacts, kept, runs, bytes, totals } = result;
  const counts = totals ?? { artifacts: artifacts.length, runs: runs.length, stagingPrefixes: 0, logPrefixes: 0, kept: [] };
  const reasons = counts.kept.toSorted((a, b) => b.bytes - a.bytes);
  const keptBytes = reasons.reduce((sum, reason) => sum + reason.bytes, 0);
  const keptCount = reasons.reduce((sum, reason) => sum + reason.artifacts, 0);
  return (
    <>
      <p role="status">
        {counts.artifacts + counts.stagingPrefixes + counts.logPrefixes === 0
          ? 'Nothing would go. '
          : `${formatCounted(counts.artifacts, 'artifact')} of ${formatBytes(bytes)}, the staging of ${formatCounted(counts.stagingPrefixes, 'attempt')} and the curves of ${formatCount(counts.logPrefixes)} would go. `}
        {counts.runs > 0 && `${formatCounted(counts.runs, 'run')} would give up ${counts.runs === 1 ? 'its' : 'their'} results. `}
        {formatCounted(keptCount, 'artifact')} of {formatBytes(keptBytes)} would stay.
      </p>
      {runs.length > 0 && (
        <p>
          Runs:{' '}
          {runs.slice(0, shown).map((run, index) => (
            <span key={run.id}>
              {index > 0 && ', '}
              <Link to="/runs/$runId" params={{ runId: run.id }}>
                {run.name}
              </Link>
            </span>
          ))}
          {counts.runs > shown && ` and ${formatCount(counts.runs - shown)} more`}
        </p>
      )}
      <ul className={classes.reasons} aria-label="What would stay, by reason">
        {reasons.map(({ reason, why, artifacts: count, bytes: size }) => (
          <li key={reason}>
            <ProgressBar share={keptBytes === 0 ? 0 : size / keptBytes} colour="gray" label={`Share of what stays: ${why}`} />
            <strong>{formatBytes(size)}</strong>
            <span>
              {formatCounted(count, 'artifact')}: {why}
            </span>
          </li>
        ))}
      </ul>
      <Artifacts title="Would go" items={artifacts} total={counts.artifacts} />
      <Artifacts title="Would stay" items={kept} total={keptCount} />
    </>
  );
}

function Artifacts({ title, items, total }: { title: string; items: GcResult['artifacts']; total: number }) {
  if (items.length === 0) return null;
  return (
    <>
      <h3>
        {title}{' '}
        {total > shown && (
          <span className={tableClasses.dim}>
            the {shown} largest of {formatCount(total)}
          </span>
        )}
      </h3>
      <Table name={`Table of what ${title.toLowerCase()}`}>
        <thead>
          <tr>
            <th>Artifact</th>
            <th data-number>Size</th>
            <th>Id</th>
            <th>Why</th>
          </tr>
        </thead>
        <tbody>
          {items.slice(0, shown).map(({ id, kind, bytes, why }) => (
            <tr key={id}>
              <th scope="row">{kind}</th>
              <td data-number>{formatBytes(bytes)}</td>
              <td>
                <code>{id}</code>
              </td>
              <td className={classes.why}>{why}</td>
            </tr>
          ))}
        </tbody>
      </Table>
    </>
  );
}
