import { spawn } from 'node:child_process';
import { Socket } from 'node:net';

/**
 * Ends the process `pid` with `signal` when this process is gone, however it went (kill -9 too), and then runs no more
 * code of ours: a shell waits for the end of a pipe that only this process holds open. Call `cancel` once `pid` has
 * ended by itself, lest its number is given to another process.
 */
export function endWithParent(pid: number, signal: 'INT' | 'TERM' | 'KILL' = 'INT'): { cancel(): void } {
  // In a session of its own, so that Ctrl-C at the terminal does not take the watcher before it can act.
  const watcher = spawn('/bin/sh', ['-c', 'read _; kill -"$2" "$1"', 'sh', String(pid), signal], {
    stdio: ['pipe', 'ignore', 'ignore'],
    detached: true,
  });
  watcher.on('error', () => undefined);
  watcher.unref();
  if (watcher.stdin instanceof Socket) watcher.stdin.unref();
  watcher.stdin.on('error', () => undefined);
  return { cancel: () => watcher.kill('SIGKILL') };
}
