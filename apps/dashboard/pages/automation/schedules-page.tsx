import { recipeNameOf, type ScheduleOutcome, type ScheduleView, scheduleText, whyNotOwner } from '@cairn/contract';
import { keepPreviousData, useMutation, useQuery } from '@tanstack/react-query';
import { Link, useNavigate, useSearch } from '@tanstack/react-router';
import { useState } from 'react';
import { useMay, useMe } from '../../app/me.ts';
import { schedulesQuery } from '../../app/queries.ts';
import { keys } from '../../app/query-keys.ts';
import { useServices } from '../../app/services.ts';
import { ActionButton } from '../../parts/action-button.tsx';
import { Answer } from '../../parts/answer.tsx';
import { ConfirmDialog } from '../../parts/confirm-dialog.tsx';
import { CopyButton } from '../../parts/copy-call.tsx';
import type { Look } from '../../parts/looks.ts';
import { Pager } from '../../parts/pager.tsx';
import { StateBadge } from '../../parts/state-badge.tsx';
import tableClasses from '../../parts/table.module.css';
import { Table } from '../../parts/table.tsx';
import { Ago, At, Until } from '../../parts/time.tsx';
import classes from './automation.module.css';
import { AutomationHeading, pollMs } from './automation-heading.tsx';

const addCommand = 'cairn schedule add nightly --cron "0 3 * * *" --recipe mini';

type Verb = 'run' | 'pause' | 'resume';

/** What starts by itself: when next, and what became of the last time. */
export function SchedulesPage() {
  const { client } = useServices();
  const { cursor } = useSearch({ from: '/signed-in/schedules' });
  const navigate = useNavigate({ from: '/schedules' });
  const [asks, setAsks] = useState<{ schedule: ScheduleView; verb: Verb } | null>(null);
  const schedules = useQuery({ ...schedulesQuery(client, cursor), placeholderData: keepPreviousData, refetchInterval: pollMs });
  return (
    <>
      <AutomationHeading title="Schedules" cli="cairn schedule list" call={{ path: '/v1/schedules' }} />
      <Answer of={schedules}>
        {({ items }) =>
          items.length === 0 ? (
            <p className={tableClasses.empty}>
              No schedule yet: <code>{addCommand}</code> <CopyButton text={addCommand} /> adds one.
            </p>
          ) : (
            <Schedules items={items} onAsk={(schedule, verb) => setAsks({ schedule, verb })} />
          )
        }
      </Answer>
      <Pager cursor={cursor} nextCursor={schedules.data?.nextCursor ?? null} onGo={(next) => void navigate({ search: { cursor: next } })} />
      {asks !== null && <VerbDialog {...asks} onClose={() => setAsks(null)} />}
    </>
  );
}

function Schedules({ items, onAsk }: { items: readonly ScheduleView[]; onAsk: (schedule: ScheduleView, verb: Verb) => void }) {
  const mayManage = useMay('schedule.manage');
  return (
    <Table name="Table of schedules">
      <thead>
        <tr>
          <th>Name</th>
          <th>Next</th>
          <th>Last time</th>
          <th>When</th>
          <th>Starts</th>
          <th title="What happens when a run is due while an earlier one is live">If one is live</th>
          <th>Owner</th>
          {mayManage && <th aria-label="Actions" />}
        </tr>
      </thead>
      <tbody>
        {items.map((schedule) => (
          <tr key={schedule.id}>
            <th scope="row">{schedule.name}</th>
            <td>
              <Next schedule={schedule} />
            </td>
            <td>{schedule.last === null ? <span className={tableClasses.dim}>none yet</span> : <Last last={schedule.last} />}</td>
            <td>
              <code>{scheduleText(schedule)}</code>
            </td>
            <td>
              {recipeNameOf(schedule.run)}
              {schedule.run.dataset !== undefined && ` on ${schedule.run.dataset}`}
            </td>
            <td>{overlapWords[schedule.overlap]}</td>
            <td>{schedule.owner}</td>
            {mayManage && (
              <td>
                <Actions schedule={schedule} onAsk={onAsk} />
              </td>
            )}
          </tr>
        ))}
      </tbody>
    </Table>
  );
}

const overlapWords = {
  skip: 'the new one is left out',
  queue: 'the new one waits',
  cancel: 'the earlier one is cancelled',
} as const satisfies Record<ScheduleView['overlap'], string>;

const pausedLook: Look = { label: 'Paused', icon: 'pause', colour: 'orange' };

function Next({ schedule: { next, pausedAt, onDataset } }: { schedule: ScheduleView }) {
  const [first, ...more] = next;
  if (pausedAt !== null) return <StateBadge look={pausedLook} />;
  if (first === undefined) return <span className={tableClasses.dim}>{onDataset === null ? 'never' : 'with the next version'}</span>;
  return (
    <details>
      <summary>
        <Until at={first} />
      </summary>
      {[first, ...more].map((at) => (
        <div key={at}>
          <At at={at} />
        </div>
      ))}
    </details>
  );
}

const outcomeLooks = {
  started: { label: 'Started', icon: 'check', colour: 'green' },
  skipped: { label: 'Skipped', icon: 'ban', colour: 'gray' },
  refused: { label: 'Refused', icon: 'cross', colour: 'red' },
} as const satisfies Record<ScheduleOutcome['outcome'], Look>;

function Last({ last: { outcome, at, due, runId, message } }: { last: ScheduleOutcome }) {
  return (
    <div className={classes.last}>
      <div>
        <StateBadge look={outcomeLooks[outcome]} />
        <Ago at={at} />
        {runId !== null && (
          <Link to="/runs/$runId" params={{ runId }} title={`due ${due}`}>
            {outcome === 'started' ? 'its run' : 'the run that was live'}
          </Link>
        )}
      </div>
      {outcome !== 'started' && <span className={tableClasses.dim}>{message}</span>}
    </div>
  );
}

function Actions({ schedule, onAsk }: { schedule: ScheduleView; onAsk: (schedule: ScheduleView, verb: Verb) => void }) {
  const me = useMe().data;
  const why = me === undefined ? null : whyNotOwner(schedule.owner, { name: me.tokenName, role: me.role });
  const whyNot = why === null ? null : `Not with your token: ${why}`;
  const verb = schedule.pausedAt === null ? 'pause' : 'resume';
  return (
    <span className={classes.actions}>
      <ActionButton size="compact-xs" variant="default" why={whyNot} onClick={() => onAsk(schedule, 'run')}>
        Run now …
      </ActionButton>
      <ActionButton size="compact-xs" variant="default" why={whyNot} onClick={() => onAsk(schedule, verb)}>
        {verb === 'pause' ? 'Pause …' : 'Resume …'}
      </ActionButton>
    </span>
  );
}

const verbs = {
  run: { title: 'Run it now', action: 'Start the run', what: 'Its run starts now, in your name. Its next times stay as they are.' },
  pause: { title: 'Pause it', action: 'Pause', what: 'It starts nothing until it is resumed. Times that pass meanwhile are left out.' },
  resume: { title: 'Resume it', action: 'Resume', what: 'It continues with its next time.' },
} as const satisfies Record<Verb, { title: string; action: string; what: string }>;

function VerbDialog({ schedule: { name, run }, verb, onClose }: { schedule: ScheduleView; verb: Verb; onClose: () => void }) {
  const { client, queries } = useServices();
  const navigate = useNavigate();
  const act = useMutation({
    mutationFn: async (): Promise<string | null> => {
      if (verb === 'run') return (await client.runSchedule(name)).id;
      await (verb === 'pause' ? client.pauseSchedule(name) : client.resumeSchedule(name));
      return null;
    },
    onSuccess: async (runId) => {
      await queries.invalidateQueries({ queryKey: keys.schedules });
      onClose();
      if (runId !== null) await navigate({ to: '/runs/$runId', params: { runId } });
    },
  });
  const { title, action, what } = verbs[verb];
  return (
    <ConfirmDialog
      title={`${name}: ${title.toLowerCase()}?`}
      action={action}
      isBusy={act.isPending}
      error={act.error}
      onConfirm={() => act.mutate()}
      onClose={onClose}
    >
      <p>{what}</p>
      {verb === 'run' && <p>It submits the recipe {recipeNameOf(run)}.</p>}
    </ConfirmDialog>
  );
}
