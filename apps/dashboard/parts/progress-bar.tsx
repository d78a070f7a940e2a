import type { Look } from './looks.ts';
import classes from './progress-bar.module.css';

/** How much is done, 0 to 1; `label` says of what, for those who do not see the bar. */
export function ProgressBar({ share, colour, label }: { share: number; colour: Look['colour']; label: string }) {
  const percent = Math.min(100, Math.max(0, share * 100));
  return (
    <div className={classes.bar} data-colour={colour} role="progressbar" aria-label={label} aria-valuenow={Math.round(percent)}>
      <div style={{ width: `${percent}%` }} />
    </div>
  );
}
