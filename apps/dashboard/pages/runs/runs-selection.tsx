import { messageOf } from '@cairn/client';
import { CairnError, isCairnError, maxComparedRuns, type RunListItem } from '@cairn/contract';
import { Button } from '@mantine/core';
import { useMutation } from '@tanstack/react-query';
import { useNavigate } from '@tanstack/react-router';
import { useState } from 'react';
import { useMay } from '../../app/me.ts';
import { keys } from '../../app/query-keys.ts';
import { useServices } from '../../app/services.ts';
import { ActionButton } from '../../parts/action-button.tsx';
import { ConfirmDialog } from '../../parts/confirm-dialog.tsx';
import { CopyButton } from '../../parts/copy-call.tsx';
import { formatCount } from '../../parts/numbers.ts';
import classes from './runs.module.css';
import type { ChangeSelection } from './runs-search.ts';

type Props = { selected: readonly string[]; onSelect: ChangeSelection; rows: readonly RunListItem[] };

/** What can be done with the selected runs. */
export function RunsSelection({ selected, onSelect, rows }: Props) {
  const mayCancel = useMay('run.cancel');
  if (selected.length === 0) return null;
  const onPage = rows.filter(({ id }) => selected.includes(id));
  return (
    <section className={classes.selection} aria-label="Selected runs">
      <strong>{formatCount(selected.length)} selected</strong>
      {mayCancel && <CancelRuns runs={onPage} elsewhere={selected.length - onPage.length} />}
      <Compare ids={selected} />
      <CopyButton text={selected.join('\n')} label="Copy ids" />
      <Button variant="subtle" onClick={() => onSelect(() => [])}>
        Clear
      </Button>
    </section>
  );
}

/** The way to the comparison of the selected runs. */
function Compare({ ids }: { ids: readonly string[] }) {
  const navigate = useNavigate();
  const why =
    ids.length < 2
      ? 'Select at least two runs.'
      : ids.length > maxComparedRuns
        ? `At most ${maxComparedRuns} runs are compared; ${formatCount(ids.length)} are selected.`
        : null;
  return (
    <ActionButton variant="default" why={why} onClick={() => void navigate({ to: '/compare', search: { runs: [...ids] } })}>
      Compare
    </ActionButton>
  );
}

/** Cancels those of the runs whose state allows it, after a question that says what is lost. */
function CancelRuns({ runs, elsewhere }: { runs: readonly RunListItem[]; elsewhere: number }) {
  const { client, queries } = useServices();
  const [asks, setAsks] = useState(false);
  const able = runs.filter((run) => run.actions.some(({ action, isAllowed }) => action === 'cancel' && isAllowed));
  const unable = runs.filter((run) => !able.includes(run));
  const cancel = useMutation({
    mutationFn: async () => {
      const results = await Promise.allSettled(able.map((run) => client.cancelRun(run.id)));
      const failures = results.flatMap((result, index) =>
        result.status === 'rejected' ? [{ name: able[index]?.name, why: result.reason }] : [],
      );
      const [first] = failures;
      if (first === undefined) return;
      const sentences = failures.map(({ name, why }) => `${name}: ${messageOf(why)}`);
      throw new CairnError(isCairnError(first.why) ? first.why.code : 'internal', sentences.join('\n'));
    },
    onSuccess: () => setAsks(false),
    onSettled: () => queries.invalidateQueries({ queryKey: keys.runs }),
  });
  const reasons = unable.flatMap((run) =>
    run.actions.flatMap(({ action, why }) => (action === 'cancel' && why !== null ? [`${run.name}: ${why}`] : [])),
  );
  const why = able.length > 0 ? null : runs.length === 0 ? 'None of the selected runs is on this page.' : reasons.slice(0, 3).join('\n');
  return (
    <>
      <ActionButton variant="default" why={why} onClick={() => setAsks(true)}>
        Cancel …
      </ActionButton>
      {asks && (
        <ConfirmDialog
          title={`Cancel ${able.length === 1 ? able[0]?.name : `${formatCount(able.length)} runs`}?`}
          action={able.length === 1 ? 'Cancel the run' : 'Cancel the runs'}
          isDangerous
          isBusy={cancel.isPending}
          error={cancel.error}
          onConfirm={() => cancel.mutate()}
          onClose={() => {
            cancel.reset();
            setAsks(false);
          }}
        >
          <p>
            Results of finished steps are kept. Steps that are running stop, and lose what they did since their last checkpoint or shard.
          </p>
          {able.length > 1 && (
            <ul className={classes.names}>
              {able.map((run) => (
                <li key={run.id}>{run.name}</li>
              ))}
            </ul>
          )}
          {unable.length > 0 && (
            <p>{formatCount(unable.length)} of the selected runs cannot be cancelled in their state, and stay as they are.</p>
          )}
          {elsewhere > 0 && <p>{formatCount(elsewhere)} of the selected runs are not on this page, and stay as they are.</p>}
        </ConfirmDialog>
      )}
    </>
  );
}
