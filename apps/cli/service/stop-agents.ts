import { readFileSync } from 'node:fs';
import { sep } from 'node:path';
import { killAttemptProcesses, type ProcessIdentity, processesByAttempt, signalProcess, sleep } from '@cairn/runtime';

/**
 * Ends the attempts whose work folders are below `stateDirs`: each agent is asked to save its work (SIGTERM) and has
 * `graceMs` for it; then all remaining processes are killed. Their steps continue when the service starts again.
 */
export async function stopAgents(stateDirs: readonly string[], graceMs: number): Promise<void> {
  const end = Date.now() + graceMs;
  for (const processes of attemptsBelow(stateDirs).values()) {
    // The oldest process of an attempt is its agent; the others are its children.
    const [agent] = processes;
    if (agent !== undefined) signalProcess(agent, 'SIGTERM');
  }
  while (attemptsBelow(stateDirs).size > 0 && Date.now() < end) await sleep(50);
  await killAttemptProcesses(attemptsBelow(stateDirs).keys(), { limitMs: 5_000 });
}

/** The processes of this machine's attempts that work below one of the folders. */
function attemptsBelow(stateDirs: readonly string[]): Map<string, ProcessIdentity[]> {
  const all = [...processesByAttempt()];
  return new Map(all.filter(([, processes]) => processes.some(({ pid }) => worksBelow(pid, stateDirs))));
}

function worksBelow(pid: number, stateDirs: readonly string[]): boolean {
  let environment: string;
  try {
    environment = readFileSync(`/proc/${pid}/environ`, 'utf8');
  } catch {
    // Gone in the meantime.
    return false;
  }
  const workDir = environment
    .split('\0')
    .find((entry) => entry.startsWith('CAIRN_WORK_DIR='))
    ?.slice('CAIRN_WORK_DIR='.length);
  return workDir !== undefined && stateDirs.some((folder) => workDir.startsWith(folder + sep));
}
