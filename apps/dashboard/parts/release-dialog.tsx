import type { AttentionItem } from '@cairn/contract';
import { useMutation } from '@tanstack/react-query';
import { keys } from '../app/query-keys.ts';
import { useServices } from '../app/services.ts';
import { Commit } from './commit.tsx';
import { ConfirmDialog } from './confirm-dialog.tsx';

export type HeldDelivery = NonNullable<AttentionItem['delivery']> & { id: string };

type Props = { delivery: HeldDelivery; onClose: () => void };

/** Asks before the run of a held delivery starts, with the commit to look at before. */
export function ReleaseDialog({ delivery: { id, trigger, subject, reason, source }, onClose }: Props) {
  const { client, queries } = useServices();
  const release = useMutation({
    mutationFn: () => client.releaseDelivery(trigger, id),
    onSuccess: async () => {
      await Promise.all([keys.triggers, keys.attention, keys.runs].map((queryKey) => queries.invalidateQueries({ queryKey })));
      onClose();
    },
  });
  return (
    <ConfirmDialog
      title={`Release ${subject}?`}
      action="Start its run"
      isBusy={release.isPending}
      error={release.error}
      onConfirm={() => release.mutate()}
      onClose={onClose}
    >
      <p>{reason}</p>
      {source !== null && (
        <p>
          Look at the commit first: <Commit source={source} />
        </p>
      )}
      <p>A run of the trigger {trigger} starts for it, in the name of the trigger’s owner.</p>
    </ConfirmDialog>
  );
}
