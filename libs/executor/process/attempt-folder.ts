import { mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { CairnError } from '@cairn/contract';
import { createExclusive, processIdentity, readAgent, readExit, readRecord, replaceRecord } from '@cairn/runtime';
import { z } from 'zod';

const launchRecord = z.object({
  attemptId: z.string(),
  generation: z.number().int(),
  name: z.string(),
  slots: z.number(),
  /** The process that claimed the start of the agent. */
  launcher: processIdentity,
});
export type LaunchRecord = z.infer<typeof launchRecord>;

const endRecord = z.object({ code: z.number().int().nullable(), signal: z.string().nullable() });
export type EndRecord = z.infer<typeof endRecord>;

const stopRecord = z.object({ deadline: z.number(), reason: z.string() });
export type StopRecord = z.infer<typeof stopRecord>;

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
