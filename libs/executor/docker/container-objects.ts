import { basename } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { pack } from 'tar-stream';
import { z } from 'zod';
import { attemptLabel, exitSignal, generationLabel, nameAnnotation, workDir } from '../attempt-containers.ts';
import type { Snapshot } from '../executor.ts';
import { secretsFile } from './container-spec.ts';

// Only the fields of Docker's objects that are used.

const labels = z
  .record(z.string(), z.string())
  .nullish()
  .transform((value) => value ?? {});

/** An entry of a list. States: created, running, paused, restarting, removing, exited, dead. `Created` is in seconds since the epoch. */
export const listedContainer = z.object({
  Id: z.string(),
  Names: z.array(z.string()),
  State: z.string(),
  Labels: labels,
  Created: z.number(),
});
export type ListedContainer = z.infer<typeof listedContainer>;

/** The engine writes year 1 for `never`. */
const time = z.string().transform((text) => (text.startsWith('0001-') ? null : Date.parse(text)));

export const inspectedContainer = z.object({
  Id: z.string(),
  Name: z.string().transform((name) => name.replace(/^\//, '')),
  Created: time,
  Config: z.object({ Labels: labels }),
  State: z.object({
    Status: z.string(),
    OOMKilled: z.boolean(),
    ExitCode: z.number(),
    /** Why it could not be started. */
    Error: z.string(),
    FinishedAt: time,
  }),
});
export type InspectedContainer = z.infer<typeof inspectedContainer>;

export const containerEvent = z.object({ Actor: z.object({ Attributes: labels }) });

export type AttemptIdentity = { attemptId: string; generation: number; name: string };

/** The attempt of a container; null for one that is not ours. */
export function identityOf(containerLabels: Readonly<Record<string, string>>): AttemptIdentity | null {
  const attemptId = containerLabels[attemptLabel];
  const generation = Number(containerLabels[generationLabel]);
  if (attemptId === undefined || !Number.isInteger(generation)) return null;
  return { attemptId, generation, name: containerLabels[nameAnnotation] ?? attemptId };
}

/** A tar of the initial content of an attempt's volume: the work folder and the file of secrets, both accessible only to its user. */
export async function attemptFiles(secrets: string, user: number): Promise<Buffer> {
  const archive = pack();
  const owner = { uid: user, gid: user };
  archive.entry({ ...owner, name: basename(workDir), type: 'directory', mode: 0o700 });
  archive.entry({ ...owner, name: basename(secretsFile), mode: 0o400 }, secrets);
  archive.finalize();
  return buffer(archive);
}

type Diagnosis = Pick<Snapshot, 'phase' | 'exitCode' | 'message' | 'finding'>;

/** The state of a container as one phase and at most one finding. Pure: `now` is in milliseconds since the epoch. */
export function diagnose({ Created, State }: InspectedContainer, now: number): Diagnosis {
  const { Status, ExitCode, Error: why, OOMKilled, FinishedAt } = State;
  switch (Status) {
    case 'created':
      if (why !== '') return ended('container_start', startFailure(why), null, now);
      return {
        phase: 'pending',
        exitCode: null,
        message: 'created and not started yet',
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

/** Explains the engine's message about missing GPU support, which does not say what to do. */
function startFailure(why: string): string {
  const missing = 'the engine cannot give GPUs to containers: install the NVIDIA Container Toolkit there, or set gpus to none';
  return /could not select device driver/.test(why) ? `${missing} (${why})` : why;
}
