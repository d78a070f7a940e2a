import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { trainerPython } from '@cairn/testing';
import { expect, test } from 'vitest';

const program = `
import sys
sys.path.insert(0, ${JSON.stringify(import.meta.dirname)})
from make_graphs import COMMITTED, RETRIEVAL
print(*(path for path, make in COMMITTED.items() if (RETRIEVAL / path).read_bytes() != make()))
`;

test('the committed graphs are those that make_graphs.py makes', async () => {
  const { stdout } = await promisify(execFile)(trainerPython(), ['-I', '-c', program]);
  expect(stdout.trim()).toBe('');
});
