import { newId } from '@cairn/runtime';
import { describe, expect, test } from 'vitest';
import { readLogLines, searchLog } from './log-lines.ts';
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

test('the tail begins with a whole line', async () => {
  const { attempt, read } = await makeAttempt({ 0: 'one\ntwo\nth', 10: 'ree\nfour' });
  const tail = (bytes: number) =>
    readLog(prisma, { projectId: 'default', attemptId: attempt.id, stream: 'stdout', offset: 0, limit: 1024, tail: bytes });
  expect(await tail(9)).toMatchObject({ offset: 14, text: 'four', size: 18, end: true });
  expect(await tail(10)).toMatchObject({ offset: 8, text: 'three\nfour' });
  expect(await tail(100)).toMatchObject({ offset: 0, nextOffset: 18 });
  expect(await read(14)).toMatchObject({ text: 'four', size: 18 });
});

describe('lines', async () => {
  // Chunks end in the middle of lines, some have no line feed, and some do not know how many they have.
  const count = 20_000;
  const text = Array.from({ length: count }, (_, index) => `line ${index + 1}${index === 12_344 ? ' Out Of Memory 🏔' : ''}\n`).join('');
  const bytes = Buffer.from(`${text}the end`);
  const { step } = await rows.addReadyStep();
  const attempt = await rows.addAttempt(step);
  await prisma.logChunk.createMany({
    data: Array.from({ length: Math.ceil(bytes.length / 1_003) }, (_, n) => {
      const chunk = bytes.subarray(n * 1_003, (n + 1) * 1_003);
      const lines = n % 3 === 0 ? null : chunk.toString('latin1').split('\n').length - 1;
      return { attemptId: attempt.id, stream: 'stdout', offset: BigInt(n * 1_003), bytes: Uint8Array.from(chunk), lines };
    }),
  });
  const log = { projectId: 'default', attemptId: attempt.id, stream: 'stdout' } as const;
  const all = bytes.toString().split('\n');

  test.each([1, 2, 97, 12_345, 19_999, 20_001])('are read by number from %i on, each with its offset', async (from) => {
    const page = await readLogLines(prisma, { ...log, from, count: 200 });
    expect(page).toMatchObject({ from, total: count + 1, size: bytes.length, isOver: false });
    expect(page.lines.map((line) => line.text)).toEqual(all.slice(from - 1, from + 199));
    for (const line of page.lines) expect(bytes.subarray(line.offset).toString().startsWith(line.text)).toBe(true);
    const middle = page.lines[Math.min(5, page.lines.length - 1)] ?? expect.fail('no line');
    const there = await readLogLines(prisma, { ...log, offset: middle.offset + 2, count: 1 });
    expect(there.lines).toEqual([middle]);
  });

  test('are the last ones unless the caller says otherwise', async () => {
    const page = await readLogLines(prisma, { ...log, count: 3 });
    expect(page).toMatchObject({ from: 19_999, lines: [{ text: 'line 19999' }, { text: 'line 20000' }, { text: 'the end' }] });
  });

  test('are found by text in any case, and the search continues where it stopped', async () => {
    expect(await searchLog(prisma, { ...log, q: 'OUT of memory', from: 1, limit: 10 })).toEqual({
      stream: 'stdout',
      matches: [{ line: 12_345, offset: bytes.indexOf('line 12345 '), text: 'line 12345 Out Of Memory 🏔' }],
      next: null,
    });
    const first = await searchLog(prisma, { ...log, q: '777', from: 1, limit: 2 });
    expect(first.matches.map(({ line }) => line)).toEqual([777, 1_777]);
    const second = await searchLog(prisma, { ...log, q: '777', from: first.next ?? 0, limit: 2 });
    expect(second.matches.map(({ line }) => line)).toEqual([2_777, 3_777]);
    expect(await searchLog(prisma, { ...log, q: 'nothing', from: 1, limit: 2 })).toMatchObject({ matches: [], next: null });
  });

  test('that are very long are cut, and the next one is still found', async () => {
    const { attempt: other } = await makeAttempt({ 0: `a\n${'x'.repeat(1_200_000)}`, 1200002: `y\nlast\n` });
    const long = { ...log, attemptId: other.id };
    expect((await readLogLines(prisma, { ...long, from: 1, count: 10 })).lines).toMatchObject([{ text: 'a' }]);
    const cut = await readLogLines(prisma, { ...long, from: 2, count: 10 });
    expect(cut).toMatchObject({ total: 3, lines: [{ offset: 2, isCut: true }] });
    expect(cut.lines[0]?.text).toHaveLength(65_536);
    expect((await readLogLines(prisma, { ...long, from: 3, count: 10 })).lines).toEqual([
      { offset: 1_200_004, text: 'last', isCut: false },
    ]);
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
