import { readFileSync } from 'node:fs';
import type { CairnClient } from '@cairn/client';
import { processesByAttempt, sleep } from '@cairn/runtime';
import type { Service } from '../../service/start-service.ts';
import type { Fault } from './transitions.ts';

/** How long a victim is looked for: a rank needs seconds from the agent's word to its own start. */
const searchLimitMs = 20_000;

/** Kills the fault's victim with SIGKILL (PostgreSQL: a restart). Answers whether there was one to kill. */
export async function strike(service: Service, client: CairnClient, runId: string, fault: Fault, signal: AbortSignal): Promise<boolean> {
  switch (fault.victim) {
    case 'postgres':
      await service.postgres.restart(signal);
      return true;
    case 'controller':
    case 'api':
      return kill(service.programs.find((program) => program.name === fault.victim)?.pid() ?? null);
    case 'tasks':
      return kill(service.programs.find((program) => program.name === 'worker')?.pid() ?? null);
    case 'agent':
    case 'rank':
      return strikeAttempt(client, runId, fault, signal);
  }
}

function kill(pid: number | null): boolean {
  if (pid === null) return false;
  process.kill(pid, 'SIGKILL');
  return true;
}

/** The agent is the attempt's oldest process; a rank is one whose command line names the trainer and whose environment has RANK. */
async function strikeAttempt(client: CairnClient, runId: string, { victim, step }: Fault, signal: AbortSignal): Promise<boolean> {
  const end = Date.now() + searchLimitMs;
  while (Date.now() < end) {
    const { items } = await client.listAttempts(runId, step, { signal });
    const live = items.filter((attempt) => attempt.state === 'running').at(-1);
    if (!live) return false;
    const processes = processesByAttempt().get(live.id) ?? [];
    const target = victim === 'agent' ? processes[0] : processes.find((item) => isRank(item.pid));
    if (target) return kill(target.pid);
    await sleep(50, signal);
  }
  return false;
}

function isRank(pid: number): boolean {
  try {
    return readFileSync(`/proc/${pid}/environ`, 'utf8')
      .split('\0')
      .some((line) => line.startsWith('RANK='));
  } catch {
    // It ended meanwhile.
    return false;
  }
}
