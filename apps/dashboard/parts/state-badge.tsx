import classes from './badge.module.css';
import { Icon } from './icon.tsx';
import type { Look } from './looks.ts';

/** A state as glyph, word and colour, such as `<StateBadge look={runLooks[run.state]} />`. */
export function StateBadge({ look, children }: { look: Look; children?: React.ReactNode }) {
  return (
    <span className={classes.badge} data-colour={look.colour}>
      <Icon name={look.icon} size={13} />
      {children ?? look.label}
    </span>
  );
}
