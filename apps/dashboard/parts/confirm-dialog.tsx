import { Button } from '@mantine/core';
import { type ReactNode, useEffect, useId, useRef } from 'react';
import classes from './confirm-dialog.module.css';
import { ProblemNotice } from './problem.tsx';

type ConfirmProps = {
  title: string;
  /** What the button does, such as `Cancel the run`. */
  action: string;
  isDangerous?: boolean;
  isBusy: boolean;
  error: unknown;
  children: ReactNode;
  onConfirm: () => void;
  onClose: () => void;
};

/** Asks before an action, and says what it does. The browser keeps the focus inside, and Escape closes it. */
export function ConfirmDialog({ title, action, isDangerous = false, isBusy, error, children, onConfirm, onClose }: ConfirmProps) {
  const dialog = useRef<HTMLDialogElement>(null);
  const id = useId();
  useEffect(() => dialog.current?.showModal(), []);
  return (
    <dialog ref={dialog} className={classes.dialog} aria-labelledby={id} onClose={onClose}>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          onConfirm();
        }}
      >
        <h2 id={id}>{title}</h2>
        {children}
        {error !== null && <ProblemNotice error={error} />}
        <div className={classes.buttons}>
          <Button variant="default" onClick={() => dialog.current?.close()}>
            Close
          </Button>
          <Button type="submit" loading={isBusy} {...(isDangerous ? { color: 'red' } : {})}>
            {action}
          </Button>
        </div>
      </form>
    </dialog>
  );
}
