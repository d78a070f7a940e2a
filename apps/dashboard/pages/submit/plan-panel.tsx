import type { PlannedStep, PlanView } from '@cairn/contract';
import type { Look } from '../../parts/looks.ts';
import { StateBadge } from '../../parts/state-badge.tsx';
import classes from './submit.module.css';

const actionLooks = {
  run: { label: 'Runs', icon: 'play', colour: 'blue' },
  reuse: { label: 'Reused', icon: 'recycle', colour: 'violet' },
  'wait-for-same': { label: 'Waits for the same', icon: 'clock', colour: 'gray' },
} as const satisfies Record<PlannedStep['action'], Look>;

type Props = {
  plan: PlanView;
  /** Steps that run although their result exists. */
  noReuse: readonly string[];
  onNoReuse: (noReuse: string[]) => void;
};

/** What a submission would run and reuse, step by step, and why; a step with a result can be asked to run again. */
export function PlanPanel({ plan, noReuse, onNoReuse }: Props) {
  const runs = plan.steps.filter(({ action }) => action === 'run').length;
  const { gpuHours, gpuMemoryGib } = plan.estimate;
  const splits = plan.steps.flatMap(({ name, split }) => (split === null ? [] : [{ name, text: split }]));
  const bases = plan.steps.flatMap(({ name, action, estimate }) =>
    action === 'run' && estimate !== null ? [{ name, text: estimate.basis }] : [],
  );
  return (
    <>
      <p role="status">
        {runs === 0 ? 'Nothing runs: every result exists.' : `${runs} of ${plan.steps.length} ${runs === 1 ? 'steps runs' : 'steps run'}`}
        {runs > 0 &&
          (gpuHours === null
            ? '; the GPU time cannot be estimated.'
            : gpuHours > 0
              ? `, ${gpuHours < 0.01 ? '' : 'about '}${hoursText(gpuHours)}`
              : '.')}
        {runs > 0 && gpuHours !== null && gpuHours > 0 && (gpuMemoryGib === null ? '.' : `, at most ${gpuMemoryGib} GiB of a GPU.`)}
      </p>
      <ol className={classes.steps} aria-label="Plan">
        {plan.steps.map((step) => (
          <li key={step.name} data-action={step.action}>
            <StateBadge look={actionLooks[step.action]} />
            <strong>{step.name}</strong>
            {step.action === 'run' && step.estimate?.gpuHours != null && <span>{hoursText(step.estimate.gpuHours)}</span>}
            {(step.action === 'reuse' || noReuse.includes(step.name)) && (
              <label className={classes.again}>
                <input
                  type="checkbox"
                  checked={noReuse.includes(step.name)}
                  onChange={({ currentTarget: { checked } }) =>
                    onNoReuse(checked ? [...noReuse, step.name] : noReuse.filter((name) => name !== step.name))
                  }
                />
                run it again
              </label>
            )}
            <span className={classes.why}>{step.why}</span>
          </li>
        ))}
      </ol>
      <Notes title="How the GPU time is estimated" notes={bases} />
      <Notes title="How an optimizer step is split" notes={splits} />
    </>
  );
}

function Notes({ title, notes }: { title: string; notes: readonly { name: string; text: string }[] }) {
  if (notes.length === 0) return null;
  return (
    <details className={classes.notes}>
      <summary>{title}</summary>
      <ul>
        {notes.map(({ name, text }) => (
          <li key={name}>
            <strong>{name}</strong>: {text}
          </li>
        ))}
      </ul>
    </details>
  );
}

const hoursText = (hours: number): string => (hours > 0 && hours < 0.01 ? 'less than 0.01 GPU h' : `${Number(hours.toPrecision(2))} GPU h`);
