import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';

/** An interpreter that runs the stub trainer whatever it is asked to run, with additional environment variables. */
export function stubPython(env: Readonly<Record<string, string>> = {}): string {
  const folder = mkdtempSync(join(tmpdir(), 'cairn-python-'));
  const path = join(folder, 'python');
  const more = Object.entries(env).map(([name, value]) => `export ${name}='${value}'\n`);
  writeFileSync(path, `#!/bin/sh\n${more.join('')}exec "${process.execPath}" "${join(import.meta.dirname, 'stub-trainer.ts')}" "$@"\n`);
  chmodSync(path, 0o755);
  onTestFinished(() => rmSync(folder, { recursive: true }));
  return path;
}
