import { newId } from '@cairn/runtime';
import { describe, expect, test } from 'vitest';
import { cutPage, readLog } from './read-log.ts';
import { createRows, openTestDatabase } from './testing/rows.ts';

const { prisma } = await openTestDatabase();
const rows = createRows(prisma);

async function makeAttempt(chunks: Record<number, string | Uint8Array>, state: 'running' | 'succeeded' = 'succeeded') {
  const { step } = await rows.addReadyStep();
  const attempt = await rows.addAttempt(step, { state });
  for (const [offset, content] of Object.entries(chunks)) {
    const bytes = Uint8Array.from(typeof content === 'string' ? Buffer.from(content) : content);
    await prisma.logChunk.create({ data: { attemptId: attempt.id, stream: 'stdout', offset: BigInt(offset), bytes } });
  }
  const read = (offset: number, limit = 1024) =>
    readLog(prisma, { projectId: 'default', attemptId: attempt.id, stream: 'stdout', offset, limit });
  return { attempt, read };
}

describe('readLog', () => {
  test('joins chunks and reports the next offset and the end', async () => {
    const { read } = await makeAttempt({ 0: 'one ', 4: 'two ', 8: 'three' });
    expect(await read(0)).toMatchObject({ offset: 0, text: 'one two three', nextOffset: 13, end: true });
    expect(await read(6)).toMatchObject({ offset: 6, text: 'o three', nextOffset: 13, end: true });
    expect(await read(13)).toMatchObject({ offset: 13, text: '', nextOffset: 13, end: true });
  });

  test('has no end while the attempt is live', async () => {
    const { read } = await makeAttempt({ 0: 'one' }, 'running');
    expect(await read(3)).toMatchObject({ text: '', nextOffset: 3, end: false });
  });

  test('is read completely by pages of any size, each of whole characters', async () => {
    const text = 'Zürich 雪山 🏔 '.repeat(8);
    const bytes = Buffer.from(text);
    // Chunks that end in the middle of a character, as a pipe splits them.
    const chunks = Object.fromEntries(
      Array.from({ length: Math.ceil(bytes.length / 7) }, (_, i) => [i * 7, bytes.subarray(i * 7, i * 7 + 7)]),
    );
    const { read } = await makeAttempt(chunks);
    for (const limit of [1, 10, 64, 5000]) {
      let all = '';
      for (let offset = 0, end = false; !end; ) {
        const page = await read(offset, limit);
        expect(page.offset).toBe(offset);
        all += page.text;
        offset = page.nextOffset;
        end = page.end;
      }
      expect(all).toBe(text);
    }
  });

  test('skips lost bytes and never spans them', async () => {
    const { read } = await makeAttempt({ 0: 'one', 100000: 'two' });
    expect(await read(0)).toMatchObject({ offset: 0, text: 'one', nextOffset: 3, end: false });
    expect(await read(3)).toMatchObject({ offset: 100_000, text: 'two', nextOffset: 100_003, end: true });
  });

  test('does not find an attempt of another project', async () => {
    const { attempt } = await makeAttempt({});
    const args = { attemptId: attempt.id, stream: 'stdout', offset: 0, limit: 10 } as const;
    await expect(readLog(prisma, { ...args, projectId: 'other' })).rejects.toMatchObject({ code: 'not_found' });
    await expect(readLog(prisma, { ...args, projectId: 'default', attemptId: newId('attempt') })).rejects.toMatchObject({
      code: 'not_found',
    });
  });
});

test('overlapping chunks return each byte once', () => {
  const page = cutPage(
    [
      { offset: 0, bytes: Buffer.from('abcd') },
      { offset: 2, bytes: Buffer.from('cdef') },
    ],
    1,
    100,
  );
  expect(Buffer.from(page.bytes).toString()).toBe('bcdef');
});
