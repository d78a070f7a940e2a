import { idOf } from '@cairn/contract';
import { Link } from '@tanstack/react-router';

/** What an entry is about, by its id or name; a run leads to its page. */
export const Target = ({ target }: { target: string }) =>
  idOf('run').safeParse(target).success ? (
    <Link to="/runs/$runId" params={{ runId: target }}>
      <code>{target}</code>
    </Link>
  ) : (
    <code>{target}</code>
  );
