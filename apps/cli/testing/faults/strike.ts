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

/** The agent is the attempt's oldest process. */
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

/** The launcher forks its ranks: a rank is a process of the trainer whose parent is one too. */
function isRank(pid: number): boolean {
  const parent = Number(read(`/proc/${pid}/status`).match(/^PPid:\s+(\d+)/m)?.[1] ?? 0);
  return isTrainer(pid) && isTrainer(parent);
}

const isTrainer = (pid: number): boolean => read(`/proc/${pid}/cmdline`).includes('cairn_trainer');

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    // It ended meanwhile.
    return '';
  }
}
