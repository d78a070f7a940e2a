import { execFile } from 'node:child_process';

const program = process.env.CAIRN_HELM || 'helm';
const limitMs = 30_000;

/**
 * What Helm 3 prints: `helm` of the PATH, or the program that `CAIRN_HELM` names.
 * @throws Error with what it says when it fails or takes longer than 30 s
 */
export const helm = (...args: string[]): Promise<string> => helmWithin(limitMs, ...args);

/** For commands that wait for pods. */
export function helmWithin(timeout: number, ...args: string[]): Promise<string> {
  return new Promise((resolve, reject) => {
    execFile(program, args, { timeout, maxBuffer: 1 << 24 }, (error, stdout, stderr) => {
      if (error) reject(new Error(stderr.trim() || error.message, { cause: error }));
      else resolve(stdout);
    });
  });
}
