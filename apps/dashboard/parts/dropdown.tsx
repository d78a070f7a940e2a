import { Button } from '@mantine/core';
import { type ReactNode, useId } from 'react';
import classes from './dropdown.module.css';
import { Icon, type IconName } from './icon.tsx';

type DropdownProps = {
  label: ReactNode;
  /** For screen readers, where the label alone does not say it. */
  name?: string;
  icon?: IconName;
  /** A button in it with `data-chooses` closes it. */
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
      {/* biome-ignore lint/a11y/useKeyWithClickEvents: a link that is opened by the keyboard is clicked too */}
      {/* biome-ignore lint/a11y/noStaticElementInteractions: what is clicked are the links in it */}
      <div
        id={id}
        popover="auto"
        className={classes.panel}
        style={{ positionAnchor: anchor }}
        // A link in it leads to another page, over which it would stay; a choice is made.
        onClick={({ target, currentTarget }) =>
          target instanceof Element && target.closest('a, [data-chooses]') !== null && currentTarget.hidePopover()
        }
        onToggle={(event) => event.newState === 'open' && onOpen?.()}
      >
        {children}
      </div>
    </>
  );
}
