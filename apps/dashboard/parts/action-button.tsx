import { Button, type ButtonProps, VisuallyHidden } from '@mantine/core';
import { type ReactNode, useId } from 'react';

type Props = Omit<ButtonProps, 'disabled'> & {
  /** Why it cannot be used now; null when it can. */
  why: string | null;
  onClick: () => void;
  children: ReactNode;
};

/** A button that says why it cannot be used: it keeps the focus, and its reason is shown on hover and read with its name. */
export function ActionButton({ why, onClick, children, ...props }: Props) {
  const id = useId();
  if (why === null) {
    return (
      <Button {...props} onClick={onClick}>
        {children}
      </Button>
    );
  }
  return (
    <>
      <Button {...props} data-disabled aria-disabled title={why} aria-describedby={id} onClick={(event) => event.preventDefault()}>
        {children}
      </Button>
      <VisuallyHidden id={id}>{why}</VisuallyHidden>
    </>
  );
}
