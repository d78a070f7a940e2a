import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync, unlinkSync } from 'node:fs';
import { CairnError } from '@cairn/contract';

import { identityOf, isAlive, type ProcessIdentity, processesByAttempt, sleep } from '@cairn/runtime';
import type { LaunchSpec } from '../executor.ts';
import type { AttemptFolder } from './attempt-folder.ts';

export type AgentCommand = {
  /** Program and arguments of the agent. */
  command: readonly string[];
  /** The agent's whole environment apart from the attempt's own: nothing of this process leaks into it. */
  baseEnv: Readonly<Record<string, string>>;
};

/** `child` is null when the agent had been started before: by this process or by one that was killed since. */
export type LaunchResult = { identity: ProcessIdentity | null; child: ChildProcess | null };

/**
 * Starts the agent of `spec` in `folder`, or finds the one that was started before. Of several callers, in this or in
 * other processes, one starts it and the others find it; when that one is killed before or after it spawned, the next
 * caller continues from there. Waits, until `signal`, for another process that is about to spawn.
 */
export async function launchAgent(
  folder: AttemptFolder,
  spec: LaunchSpec,
  agent: AgentCommand,
  signal: AbortSignal,
): Promise<LaunchResult> {
  const launcher = identityOf(process.pid);
  if (launcher === null) throw new CairnError('invalid_configuration', '/proc cannot be read: the process executor runs on Linux only');
  folder.make();
  for (;;) {
    signal.throwIfAborted();
    const launch = folder.launch();
    const known = folder.agent();
    if (known !== null || folder.isOver()) return { identity: known, child: null };
    if (launch !== null && isAlive(launch.record.launcher)) {
      await sleep(20, signal);
      continue;
    }
    // Its launcher was killed: if it had spawned the agent, the agent would be alive or have claimed its folder.
    const orphan = launch === null ? undefined : processesByAttempt().get(spec.attemptId)?.[0];
    if (launch !== null && orphan !== undefined) {
      folder.recordProcess(launch.number, orphan);
      return { identity: orphan, child: null };
    }
    // The agent may have started and exited between the two checks.
    if (folder.agent() !== null || folder.isOver()) continue;
    const number = (launch?.number ?? 0) + 1;
    const { attemptId, generation, name, slots } = spec;
    if (!folder.claimLaunch(number, { attemptId, generation, name, slots, launcher })) continue;
    return spawnAgent(folder, number, spec, agent);
  }
}

async function spawnAgent(folder: AttemptFolder, number: number, spec: LaunchSpec, agent: AgentCommand): Promise<LaunchResult> {
  const [program = '', ...args] = agent.command;
  let log: number | undefined;
  try {
    log = openSync(folder.logFile, 'a');
    const child = spawn(program, args, {
      cwd: folder.workDir,
      env: {
        ...agent.baseEnv,
        ...spec.env,
        CAIRN_ATTEMPT_ID: spec.attemptId,
        CAIRN_ATTEMPT_GENERATION: String(spec.generation),
        CAIRN_WORK_DIR: folder.workDir,
      },
      // Its own session, and files instead of pipes: the agent outlives this process.
      detached: true,
      stdio: ['ignore', log, log],
    });
    const identity = child.pid === undefined ? null : identityOf(child.pid);
    if (identity !== null) folder.recordProcess(number, identity);
    await once(child, 'spawn');
    child.unref();
    return { identity, child };
  } catch (cause) {
    unlinkSync(folder.launchFile(number));
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new CairnError('invalid_configuration', `The agent's program ${program} cannot be started: ${why}`, { cause });
  } finally {
    if (log !== undefined) closeSync(log);
  }
}
