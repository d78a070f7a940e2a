import { randomBytes } from 'node:crypto';
import { linkSync, readFileSync, renameSync, unlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';

/**
 * The files by which an agent and its launcher find each other, in the attempt's work folder:
 * `agent.json`, written first and exclusively, says which process runs the attempt; `exit.json`, written last, how it
 * ended. With them a launcher that was killed at any moment finds its processes again, and never mistakes an unrelated process with a
 * reused pid for one of them.
 */

/** One process, permanently: a pid is reused, but its start (clock ticks since boot) within one boot is not. */
export const processIdentity = z.object({ pid: z.number().int().min(1), startTicks: z.number().int(), bootId: z.string() });
export type ProcessIdentity = z.infer<typeof processIdentity>;

const agentRecord = z.object({ attemptId: z.string(), generation: z.number().int(), process: processIdentity });
export type AgentRecord = z.infer<typeof agentRecord>;

const exitRecord = z.object({ code: z.number().int() });

/** State and start of a process, from the text of /proc/<pid>/stat (proc_pid_stat(5): fields 3 and 22); null if it cannot be parsed. */
export function parseStat(text: string): { state: string; startTicks: number } | null {
  // The second field is the command in parentheses and may itself contain spaces and parentheses: count from its end.
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  const [state, startTicks] = [fields[0], Number(fields[19])];
  return text.includes(')') && state && Number.isSafeInteger(startTicks) ? { state, startTicks } : null;
}

/** The identity of a process that exists now; null when no process has this pid, or only a zombie. */
export function identityOf(pid: number): ProcessIdentity | null {
  const stat = readOrNull(`/proc/${pid}/stat`);
  const parsed = stat === null ? null : parseStat(stat);
  if (parsed === null || parsed.state === 'Z' || parsed.state === 'X') return null;
  return { pid, startTicks: parsed.startTicks, bootId: bootId() };
}

/** True when both are the same process, not merely the same pid. */
export function isSameProcess(a: ProcessIdentity, b: ProcessIdentity): boolean {
  return a.pid === b.pid && a.startTicks === b.startTicks && a.bootId === b.bootId;
}

/** True while this very process runs: false for a zombie, or when its pid belongs to another process by now. */
export function isAlive(identity: ProcessIdentity): boolean {
  const now = identityOf(identity.pid);
  return now !== null && isSameProcess(now, identity);
}

/**
 * The first action of an agent: records that this process runs the attempt in `workDir`. False when another process has done so
 * already: then this one must exit at once and write nothing.
 */
export function claimWorkDir(workDir: string, attempt: { attemptId: string; generation: number }): boolean {
  const self = identityOf(process.pid);
  if (self === null) throw new Error('/proc cannot be read: agents run on Linux only');
  return createExclusive(join(workDir, 'agent.json'), { ...attempt, process: self } satisfies AgentRecord);
}

/** Which process runs the attempt in `workDir`; null while none has claimed it. */
export function readAgent(workDir: string): AgentRecord | null {
  return readRecord(join(workDir, 'agent.json'), agentRecord);
}

/** The last action of an agent: `code` is the exit code it is about to end with. */
export function writeExit(workDir: string, code: number): void {
  replaceRecord(join(workDir, 'exit.json'), { code } satisfies z.infer<typeof exitRecord>);
}

/** The exit code of the agent in `workDir`; null when it has not ended, or was killed before it could record one. */
export function readExit(workDir: string): number | null {
  return readRecord(join(workDir, 'exit.json'), exitRecord)?.code ?? null;
}

/** Writes `value` to a new file, whole or not at all. False when the file exists already. */
export function createExclusive(path: string, value: unknown): boolean {
  const whole = writeTemporary(path, value);
  try {
    // A link appears with its content and fails on an existing name; open('wx') would show an empty file for a moment.
    linkSync(whole, path);
    return true;
  } catch (error) {
    if (isErrno(error, 'EEXIST')) return false;
    throw error;
  } finally {
    unlinkSync(whole);
  }
}

/** Writes `value` to the file, whole or not at all, replacing its content. */
export function replaceRecord(path: string, value: unknown): void {
  renameSync(writeTemporary(path, value), path);
}

/** The record in the file; null when the file does not exist. Throws when its content does not match the schema. */
export function readRecord<T>(path: string, schema: z.ZodType<T>): T | null {
  const text = readOrNull(path);
  if (text === null) return null;
  try {
    return schema.parse(JSON.parse(text));
  } catch (cause) {
    throw new Error(`${path} is not a record of this program; remove it if nothing runs there any more`, { cause });
  }
}

function writeTemporary(path: string, value: unknown): string {
  const temporary = `${path}.${process.pid}.${randomBytes(4).toString('hex')}`;
  writeFileSync(temporary, JSON.stringify(value), { flag: 'wx' });
  return temporary;
}

function bootId(): string {
  return (readOrNull('/proc/sys/kernel/random/boot_id') ?? '').trim();
}

function readOrNull(path: string): string | null {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    // ESRCH: the process ended between open and read.
    if (isErrno(error, 'ENOENT') || isErrno(error, 'ESRCH')) return null;
    throw error;
  }
}

function isErrno(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code;
}
