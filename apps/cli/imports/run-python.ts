import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { CairnError, type ErrorCode, errorTable } from '@cairn/contract';
import { isolatedPython, withoutPythonVariables } from '@cairn/runtime';
import { z } from 'zod';
import type { Session } from '../cli.ts';

const maxOutputBytes = 4000;

const refusal = z.object({
  code: z.enum(Object.keys(errorTable) as [ErrorCode, ...ErrorCode[]]),
  message: z.string(),
  mismatches: z.array(z.string()).default([]),
});

/**
 * Runs a program of docker/trainer that prints one JSON object to standard output, and returns the object. Files from elsewhere
 * are opened only in that program.
 *
 * @throws CairnError the program's reason for rejecting the file, `invalid_configuration` without Python, `program_failed`
 */
export async function runPython<T>({ cli, signal }: Session, module: string, args: readonly string[], answer: z.ZodType<T>): Promise<T> {
  const python = cli.env.CAIRN_PYTHON ?? 'python3';
  const child = spawn(python, isolatedPython(module, args), {
    env: withoutPythonVariables(cli.env),
    stdio: ['ignore', 'pipe', 'pipe'],
    signal,
  });
  let [out, err] = ['', ''];
  child.stdout.on('data', (data: Buffer) => {
    out += data.toString();
  });
  child.stderr.on('data', (data: Buffer) => {
    err = (err + data.toString()).slice(-maxOutputBytes);
  });
  const [code] = await once(child, 'close').catch((cause: unknown) => {
    if (signal.aborted) throw signal.reason;
    throw new CairnError('invalid_configuration', `The interpreter ${python} cannot be started`, {
      details: { remedy: 'Set CAIRN_PYTHON to an interpreter that has the packages of docker/trainer/requirements.txt.' },
      cause,
    });
  });
  const output = jsonOf(out);
  const refused = refusal.safeParse(output);
  if (refused.success) throw new CairnError(refused.data.code, refused.data.message, { details: { mismatches: refused.data.mismatches } });
  const parsed = answer.safeParse(output);
  if (code === 0 && parsed.success) return parsed.data;
  throw new CairnError('program_failed', `${module}, run by ${python}, exited with code ${code}. Its last output:\n${err.trim()}`, {
    details: { remedy: 'Set CAIRN_PYTHON to an interpreter that has the packages of docker/trainer/requirements.txt.' },
  });
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
