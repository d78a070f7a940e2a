import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';

/** An interpreter that runs the stub trainer whatever it is asked to run. */
export function stubPython(): string {
  const folder = mkdtempSync(join(tmpdir(), 'cairn-python-'));
  const path = join(folder, 'python');
  writeFileSync(path, `#!/bin/sh\nexec "${process.execPath}" "${join(import.meta.dirname, 'stub-trainer.ts')}" "$@"\n`);
  chmodSync(path, 0o755);
  onTestFinished(() => rmSync(folder, { recursive: true }));
  return path;
}
