import { messageOf } from '@cairn/client';
import type { RunListItem } from '@cairn/contract';
import { Button } from '@mantine/core';
import { useMutation } from '@tanstack/react-query';
import { useRef } from 'react';
import { useMay } from '../../app/me.ts';
import { keys } from '../../app/query-keys.ts';
import { useServices } from '../../app/services.ts';
import { ActionButton } from '../../parts/action-button.tsx';
import { CopyButton } from '../../parts/copy-call.tsx';
import { formatCount } from '../../parts/numbers.ts';
import classes from './runs.module.css';
import type { ChangeSelection } from './runs-page.tsx';

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
      <CopyButton text={selected.join('\n')} label="Copy ids" />
      <Button variant="subtle" size="compact-sm" onClick={() => onSelect(() => [])}>
        Clear
      </Button>
    </section>
  );
}

/** Cancels those of the runs whose state allows it, after a question that says what is lost. */
function CancelRuns({ runs, elsewhere }: { runs: readonly RunListItem[]; elsewhere: number }) {
  const { client, queries } = useServices();
  const dialog = useRef<HTMLDialogElement>(null);
  const able = runs.filter((run) => run.actions.some(({ action, isAllowed }) => action === 'cancel' && isAllowed));
  const unable = runs.filter((run) => !able.includes(run));
  const cancel = useMutation({
    mutationFn: async () => {
      const results = await Promise.allSettled(able.map((run) => client.cancelRun(run.id)));
      return results.flatMap((result, index) =>
        result.status === 'rejected' ? [`${able[index]?.name}: ${messageOf(result.reason)}`] : [],
      );
    },
    onSuccess: (failures) => {
      void queries.invalidateQueries({ queryKey: keys.runs });
      if (failures.length === 0) dialog.current?.close();
    },
  });
  const why =
    able.length > 0
      ? null
      : runs.length === 0
        ? 'None of the selected runs is on this page.'
        : runs
            .flatMap((run) =>
              run.actions.flatMap(({ action, why }) => (action === 'cancel' && why !== null ? [`${run.name}: ${why}`] : [])),
            )
            .slice(0, 3)
            .join('\n');
  return (
    <>
      <ActionButton variant="default" size="compact-sm" why={why} onClick={() => dialog.current?.showModal()}>
        Cancel…
      </ActionButton>
      <dialog ref={dialog} className={classes.dialog} onClose={() => cancel.reset()}>
        <h2>Cancel {able.length === 1 ? able[0]?.name : `${formatCount(able.length)} runs`}?</h2>
        <p>Results of finished steps are kept. Steps that are running stop, and lose what they did since their last checkpoint or shard.</p>
        {able.length > 1 && (
          <ul>
            {able.map((run) => (
              <li key={run.id}>{run.name}</li>
            ))}
          </ul>
        )}
        {unable.length > 0 && (
          <p>{formatCount(unable.length)} of the selected runs cannot be cancelled in their state, and stay as they are.</p>
        )}
        {elsewhere > 0 && <p>{formatCount(elsewhere)} of the selected runs are not on this page, and stay as they are.</p>}
        {cancel.data?.map((failure) => (
          <p key={failure} role="alert">
            {failure}
          </p>
        ))}
        <div className={classes.answers}>
          <Button variant="default" onClick={() => dialog.current?.close()}>
            Keep
          </Button>
          <Button color="red" loading={cancel.isPending} onClick={() => cancel.mutate()}>
            Cancel {able.length === 1 ? 'the run' : 'the runs'}
          </Button>
        </div>
      </dialog>
    </>
  );
}
