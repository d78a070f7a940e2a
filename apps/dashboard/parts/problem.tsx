import { problemOfError } from '@cairn/client';
import { Button } from '@mantine/core';
import { Icon } from './icon.tsx';
import classes from './notice.module.css';

/** An error drawn: what happened, what to do, and the request to look for in the api's log. */
export function ProblemNotice({ error, onRetry }: { error: unknown; onRetry?: () => void }) {
  const { title, detail, remedy, requestId } = problemOfError(error);
  return (
    <div className={classes.notice} data-colour="red" role="alert">
      <Icon name="warning" />
      <div>
        <strong>{title}</strong>
        <p>{detail}</p>
        <p>{remedy}</p>
        {requestId !== '' && (
          <p>
            Request <code>{requestId}</code>
          </p>
        )}
        {onRetry !== undefined && <Button onClick={onRetry}>Try again</Button>}
      </div>
    </div>
  );
}
