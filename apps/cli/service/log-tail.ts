import { readFile } from 'node:fs/promises';
import { z } from 'zod';
import { cutTo } from '../output/table.ts';

/** A line of our programs' logs: pino's JSON. */
const logLine = z.object({ level: z.string(), msg: z.string().optional(), err: z.object({ message: z.string() }).optional() });

const maxWidth = 240;

/**
 * The last lines of a log for people, from byte `from` on: a JSON line as its level, message and error. A file that is not
 * there has none.
 */
export async function logTail(path: string, { from = 0, lines = 12 }: { from?: number; lines?: number } = {}): Promise<string> {
  const bytes = await readFile(path).catch(() => Buffer.alloc(0));
  const text = bytes.subarray(from).toString('utf8').trimEnd();
  return text.split('\n').slice(-lines).map(readableLine).join('\n');
}

function readableLine(line: string): string {
  const parsed = logLine.safeParse(jsonOrNull(line));
  if (!parsed.success) return cutTo(line, maxWidth);
  const { level, msg, err } = parsed.data;
  // Prisma begins its messages with the call; what went wrong is their last line.
  const why = err?.message.trim().split('\n').at(-1);
  return cutTo([level, msg, why].filter((part) => part !== undefined && part !== '').join(': '), maxWidth);
}

function jsonOrNull(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
