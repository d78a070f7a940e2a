import { expect, test } from 'vitest';
import { demultiplex } from './engine-api.ts';

function frame(stream: number, payload: Buffer): Buffer {
  const header = Buffer.alloc(8);
  header.writeUInt8(stream, 0);
  header.writeUInt32BE(payload.length, 4);
  return Buffer.concat([header, payload]);
}

test('both streams come in order, including a character split between two frames', () => {
  const [first, second] = [Buffer.from('eins\ngr\u00fc').subarray(0, 8), Buffer.from('eins\ngr\u00fc').subarray(8)];
  expect(demultiplex(Buffer.concat([frame(1, first), frame(1, second), frame(2, Buffer.from('n\n'))]))).toBe('eins\ngr\u00fcn\n');
});

test('without frames there is no text, and a truncated header is ignored', () => {
  expect(demultiplex(Buffer.alloc(0))).toBe('');
  expect(demultiplex(Buffer.concat([frame(1, Buffer.from('a')), Buffer.from([1, 0, 0])]))).toBe('a');
});
