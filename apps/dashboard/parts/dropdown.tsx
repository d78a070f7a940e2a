import { Button } from '@mantine/core';
import { type ReactNode, useId } from 'react';
import classes from './dropdown.module.css';
import { Icon, type IconName } from './icon.tsx';

type DropdownProps = {
  label: ReactNode;
  /** For screen readers, where the label alone does not say it. */
  name?: string;
  icon?: IconName;
  onOpen?: (() => void) | undefined;
  children: ReactNode;
};

/**
 * A button that opens a panel under it. The browser does the rest: a click outside or Escape closes it and returns the focus, and what
 * renders again behind it leaves it open.
 */
export function Dropdown({ label, name, icon, onOpen, children }: DropdownProps) {
  const id = useId();
  const anchor = `--anchor-${id.replaceAll(/\W/g, '')}`;
  return (
    <>
      <Button
        variant="default"
        popoverTarget={id}
        aria-label={name}
        style={{ anchorName: anchor }}
        {...(icon === undefined ? {} : { leftSection: <Icon name={icon} /> })}
        rightSection={<Icon name="chevron" size={12} />}
      >
        {label}
      </Button>
      <div
        id={id}
        popover="auto"
        className={classes.panel}
        style={{ positionAnchor: anchor }}
        onToggle={(event) => event.newState === 'open' && onOpen?.()}
      >
        {children}
      </div>
    </>
  );
}
