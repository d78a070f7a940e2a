import type { Snapshot } from '../executor.ts';
import { exitSignal } from '../exit-signal.ts';
import type { InspectedContainer } from './container-objects.ts';

type Diagnosis = Pick<Snapshot, 'phase' | 'exitCode' | 'message' | 'finding'>;

/** What the engine says of a container, as one phase and at most one sign. Pure: `now` is in milliseconds since the epoch. */
export function diagnose({ Created, State }: InspectedContainer, now: number): Diagnosis {
  const { Status, ExitCode, Error: why, OOMKilled, FinishedAt } = State;
  switch (Status) {
    case 'created':
      if (why !== '') return ended('container_start', startFailure(why), null, now);
      return {
        phase: 'pending',
        exitCode: null,
        message: 'made and not started yet',
        finding: { signal: 'container_creating', since: Created ?? now, message: '' },
      };
    case 'exited':
    case 'dead': {
      const since = FinishedAt ?? now;
      if (OOMKilled) return ended('out_of_memory', `exit code ${ExitCode}`, ExitCode, since);
      return ended(exitSignal(ExitCode, why), why || `exit code ${ExitCode}`, ExitCode, since);
    }
    default:
      return { phase: 'running', exitCode: null, message: Status, finding: null };
  }
}

function ended(signal: ReturnType<typeof exitSignal>, message: string, exitCode: number | null, since: number): Diagnosis {
  return { phase: 'exited', exitCode, message, finding: { signal, since, message } };
}

/** The engine's words for a machine that cannot give GPUs to containers help nobody who does not know them. */
function startFailure(why: string): string {
  const missing = 'the engine cannot give GPUs to containers: install the NVIDIA Container Toolkit there, or set gpus to none';
  return /could not select device driver/.test(why) ? `${missing} (${why})` : why;
}
