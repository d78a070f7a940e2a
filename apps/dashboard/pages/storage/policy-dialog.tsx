import { type RetentionPolicy, type RetentionView, retentionPolicy, retentionSentences } from '@cairn/contract';
import { TextInput } from '@mantine/core';
import { useMutation } from '@tanstack/react-query';
import { useState } from 'react';
import { keys } from '../../app/query-keys.ts';
import { useServices } from '../../app/services.ts';
import dialogClasses from '../../parts/confirm-dialog.module.css';
import { ConfirmDialog } from '../../parts/confirm-dialog.tsx';
import { CopyButton, quoted } from '../../parts/copy-call.tsx';
import { Marked } from '../../parts/marked.tsx';

/** Changes the policy, and says in the contract's words what it will do. */
export function PolicyDialog({ policy, onClose }: { policy: RetentionView; onClose: () => void }) {
  const { client, queries } = useServices();
  const [days, setDays] = useState(textOf(policy.runsOlderThanDays));
  const [checkpoints, setCheckpoints] = useState(String(policy.checkpoints));
  const [labels, setLabels] = useState(policy.keepLabels.join(', '));
  const [hours, setHours] = useState(textOf(policy.setBy === null ? defaultHours : policy.everyHours));
  const read = retentionPolicy.safeParse({
    runsOlderThanDays: numberOf(days),
    checkpoints: numberOf(checkpoints),
    keepLabels: labels.split(/[\s,]+/).filter((label) => label !== ''),
    everyHours: numberOf(hours),
  });
  const faultOf = (field: keyof RetentionPolicy): string | null =>
    read.error?.issues.find(({ path }) => path[0] === field)?.message ?? null;
  const save = useMutation({
    mutationFn: (next: RetentionPolicy) => client.setRetention(next),
    onSuccess: (view) => {
      queries.setQueryData(keys.retention, view);
      onClose();
    },
  });
  return (
    <ConfirmDialog
      title="Change the retention policy"
      action="Set the policy"
      isBusy={save.isPending}
      error={save.error}
      onConfirm={() => read.success && save.mutate(read.data)}
      onClose={onClose}
    >
      <div className={dialogClasses.fields}>
        <TextInput
          label="Runs give up their results after, in days"
          placeholder="never"
          type="number"
          min={1}
          value={days}
          error={faultOf('runsOlderThanDays')}
          onChange={(event) => setDays(event.currentTarget.value)}
        />
        <TextInput
          label="Checkpoints to keep of a stage that ended without a result"
          type="number"
          required
          min={0}
          value={checkpoints}
          error={faultOf('checkpoints')}
          onChange={(event) => setCheckpoints(event.currentTarget.value)}
        />
        <TextInput
          label="Labels of runs that keep their results"
          placeholder="team=search, keep=yes"
          value={labels}
          error={faultOf('keepLabels')}
          onChange={(event) => setLabels(event.currentTarget.value)}
        />
        <TextInput
          label="The leader collects every, in hours"
          placeholder="never: only cairn gc collects"
          type="number"
          min={1}
          value={hours}
          error={faultOf('everyHours')}
          onChange={(event) => setHours(event.currentTarget.value)}
        />
      </div>
      {read.success && (
        <>
          <ul aria-label="What it does">
            {retentionSentences({ ...policy, ...read.data, setBy: policy.setBy ?? '' }).map((sentence) => (
              <li key={sentence}>
                <Marked text={sentence} />
              </li>
            ))}
          </ul>
          <p>
            <code>{commandOf(read.data)}</code> <CopyButton text={commandOf(read.data)} />
          </p>
        </>
      )}
      <p>What a collection removed cannot be brought back; a retry of its run makes it again.</p>
    </ConfirmDialog>
  );
}

/** How often the leader collects by a policy that does not say it. */
const defaultHours = retentionPolicy.parse({}).everyHours;

const textOf = (value: number | null): string => (value === null ? '' : String(value));
const numberOf = (text: string): number | null => (text.trim() === '' ? null : Number(text));

const commandOf = ({ runsOlderThanDays: days, checkpoints, keepLabels, everyHours }: RetentionPolicy): string =>
  [
    'cairn retention set',
    ...(days === null ? [] : [`--runs-older-than ${days}d`]),
    ...(checkpoints === 0 ? [] : [`--checkpoints ${checkpoints}`]),
    ...keepLabels.map((label) => `--keep-label ${quoted(label)}`),
    everyHours === null ? '--by-hand' : `--every ${everyHours}`,
  ].join(' ');
