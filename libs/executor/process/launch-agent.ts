import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, mkdirSync, openSync, readdirSync, unlinkSync } from 'node:fs';
import { join } from 'node:path';
import { CairnError } from '@cairn/contract';
import {
  createExclusive,
  identityOf,
  isAlive,
  type ProcessIdentity,
  processesByAttempt,
  processIdentity,
  readAgent,
  readExit,
  readRecord,
  replaceRecord,
  sleep,
} from '@cairn/runtime';
import { z } from 'zod';
import type { LaunchSpec } from '../executor.ts';

export type AgentCommand = {
  /** Program and arguments of the agent. */
  command: readonly string[];
  /** The agent's whole environment apart from the attempt's own: nothing of this process leaks into it. */
  baseEnv: Readonly<Record<string, string>>;
};

/** `child` is null when the agent had been started before: by this process or by one that was killed since. */
type LaunchResult = { identity: ProcessIdentity | null; child: ChildProcess | null };

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

const launchRecord = z.object({
  attemptId: z.string(),
  generation: z.number().int(),
  name: z.string(),
  slots: z.number(),
  /** The process that claimed the start of the agent. */
  launcher: processIdentity,
});
type LaunchRecord = z.infer<typeof launchRecord>;

const endRecord = z.object({ code: z.number().int().nullable(), signal: z.string().nullable() });
type EndRecord = z.infer<typeof endRecord>;

const stopRecord = z.object({ deadline: z.number(), reason: z.string() });
type StopRecord = z.infer<typeof stopRecord>;

const safeId = /^[A-Za-z0-9_-]+$/;
const launchFile = /^launch-(\d+)\.json$/;

/**
 * The folder of one attempt: `launch-N.json` (the Nth try at starting it; created exclusively, so that one launcher wins),
 * `process-N.json` (what it spawned), `stop.json`, `ended.json` (how our own child ended), `stderr.log`, and `work/`, the
 * agent's own folder, with the agent's own records in it.
 */
export function attemptFolder(root: string, attemptId: string) {
  if (!safeId.test(attemptId)) {
    throw new CairnError('invalid_path', `The attempt id ${JSON.stringify(attemptId)} is not a valid folder name`);
  }
  const path = join(root, attemptId);
  const workDir = join(path, 'work');

  /** The newest try at launching; null when there was none. */
  function launch(): { number: number; record: LaunchRecord } | null {
    const number = Math.max(0, ...listOf(path).map((name) => Number(launchFile.exec(name)?.[1] ?? 0)));
    const record = number === 0 ? null : readRecord(join(path, `launch-${number}.json`), launchRecord);
    return record === null ? null : { number, record };
  }

  return {
    attemptId,
    path,
    workDir,
    logFile: join(path, 'stderr.log'),
    launch,
    make: () => mkdirSync(workDir, { recursive: true }),
    /** True when this caller must start the agent. */
    claimLaunch: (number: number, record: LaunchRecord) => createExclusive(join(path, `launch-${number}.json`), record),
    launchFile: (number: number) => join(path, `launch-${number}.json`),
    recordProcess: (number: number, identity: z.infer<typeof processIdentity>) =>
      replaceRecord(join(path, `process-${number}.json`), identity),
    /** The agent: the process that claimed the work folder, or else the last one spawned; null when none is known. */
    agent() {
      const number = launch()?.number ?? 0;
      return readAgent(workDir)?.process ?? readRecord(join(path, `process-${number}.json`), processIdentity);
    },
    recordStop: (record: StopRecord) => replaceRecord(join(path, 'stop.json'), record),
    stop: () => readRecord(join(path, 'stop.json'), stopRecord),
    recordEnd: (record: EndRecord) => replaceRecord(join(path, 'ended.json'), record),
    isOver: () => readExit(workDir) !== null || readRecord(join(path, 'ended.json'), endRecord) !== null,
    /** How the agent ended, as recorded by itself or by its parent; nulls when unknown. */
    end(): EndRecord {
      const code = readExit(workDir);
      return code !== null ? { code, signal: null } : (readRecord(join(path, 'ended.json'), endRecord) ?? { code: null, signal: null });
    },
  };
}
export type AttemptFolder = ReturnType<typeof attemptFolder>;

/** The attempts that have a folder below `root`. */
export function attemptFolders(root: string): AttemptFolder[] {
  return listOf(root).flatMap((name) => (safeId.test(name) ? [attemptFolder(root, name)] : []));
}

function listOf(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return [];
    throw error;
  }
}
