import { createHash } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { gzipSync } from 'node:zlib';
import { type Pack, pack } from 'tar-stream';
import { describe, expect, test } from 'vitest';
import { createFileGate } from '../file-gate.ts';
import { testFolder, writeFiles } from '../testing/hand-made-collection.ts';
import { scanFile } from '../testing/scan-file.ts';
import { indexTar, type TarIndex, tarsOfSplit } from './index-tars.ts';
import { packTars } from './pack-tars.ts';
import { blockBytes, tarHeader } from './scan-tar.ts';

const gate = await createFileGate(null);
const images = ['abc0', 'abd1', 'bcd2', 'cde3', 'def4'].map((id, i) => ({ id, bytes: Buffer.alloc(100 + i * 700, id) }));

/** Packs five images into two tars with md5 files under `root`, as the split train. */
async function packed(root: string): Promise<void> {
  await packTars(
    root,
    'train',
    images.map(({ id, bytes }) => ({ id, read: async () => bytes })),
    2,
  );
}

async function indexed(root: string, signal?: AbortSignal): Promise<TarIndex[]> {
  return Promise.all((await tarsOfSplit(root, 'train')).map((tar) => indexTar(root, tar, { withMd5: true, gate, signal })));
}

async function writeTar(path: string, entries: { header: Parameters<Pack['entry']>[0]; content?: Buffer }[]): Promise<void> {
  const archive = pack();
  for (const { header, content } of entries) archive.entry(header, content ?? Buffer.alloc(0));
  archive.finalize();
  await pipeline(archive, createWriteStream(path));
}

describe('an index of tars', () => {
  test('locates the bytes of each image in its tar', async () => {
    await using folder = await testFolder();
    await packed(folder.path);
    const tars = await indexed(folder.path);
    expect(tars.map(({ tar, md5Checked, members }) => [tar, md5Checked, members.map((member) => member.imageId)])).toEqual([
      ['train/images_000.tar', true, ['abc0', 'bcd2', 'def4']],
      ['train/images_001.tar', true, ['abd1', 'cde3']],
    ]);
    for (const { tar, members } of tars) {
      const file = await readFile(join(folder.path, tar));
      for (const { imageId, offset, size } of members) {
        expect(file.subarray(offset, offset + size)).toEqual(images.find((image) => image.id === imageId)?.bytes);
      }
    }
  });

  test('reads long names, skips folders, links and other files, and takes names with a leading folder', async () => {
    await using folder = await testFolder();
    const path = join(folder.path, 'images_000.tar');
    const deep = `${'a-long-folder-name/'.repeat(12)}long5.jpg`;
    await writeTar(path, [
      { header: { name: './a/b/c/', type: 'directory' } },
      { header: { name: './a/b/c/abc1.jpg' }, content: Buffer.from('one') },
      { header: { name: 'README.txt' }, content: Buffer.from('read me') },
      { header: { name: 'l/i/n/link.jpg', type: 'symlink', linkname: '../../x.jpg' } },
      { header: { name: deep, pax: { comment: 'x' } }, content: Buffer.from('five') },
      { header: { name: 'e/m/p/empty.jpg' }, content: Buffer.alloc(0) },
    ]);
    const { members, others, unindexed } = await scanFile(path);
    const file = await readFile(path);
    expect(members.map(({ imageId, offset, size }) => [imageId, file.toString('utf8', offset, offset + size)])).toEqual([
      ['abc1', 'one'],
      ['long5', 'five'],
      ['empty', ''],
    ]);
    expect(others).toBe(1);
    expect(unindexed).toBe(1);
  });

  test('compares only the first field of the md5 file, in md5sum/ or next to the tar, and reports a missing file', async () => {
    await using folder = await testFolder();
    await packed(folder.path);
    const md5 = createHash('md5')
      .update(await readFile(join(folder.path, 'train/images_000.tar')))
      .digest('hex');
    await writeFile(join(folder.path, 'md5sum/train/md5.images_000.txt'), `${md5.toUpperCase()} some/other/name.tar\n`);
    await rm(join(folder.path, 'md5sum/train/md5.images_001.txt'));
    expect((await indexed(folder.path)).map((tar) => tar.md5Checked)).toEqual([true, false]);
    await writeFiles(folder.path, { 'train/md5.images_001.txt': `${md5}  images_001.tar\n` });
    await expect(indexed(folder.path)).rejects.toMatchObject({ code: 'corrupt_tar', details: { expected: md5 } });
  });

  test('a changed byte is reported with the file and both md5s', async () => {
    await using folder = await testFolder();
    await packed(folder.path);
    const path = join(folder.path, 'train/images_001.tar');
    const file = await readFile(path);
    file[600] = 0xff;
    await writeFile(path, file);
    await expect(indexed(folder.path)).rejects.toMatchObject({
      code: 'corrupt_tar',
      message: expect.stringMatching(/images_001\.tar has the md5 [0-9a-f]{32} instead of [0-9a-f]{32} from its md5 file/),
    });
  });

  test.each([
    ['inside an image', 2000, /corrupt at byte 1024: b\/c\/d\/bcd2\.jpg has 1500 bytes, but only 464 follow/],
    ['inside a header', 1200, /corrupt at byte 1024: it has no end marker, 1200 bytes long/],
    ['between two members', 1024, /corrupt at byte 1024: it has no end marker/],
    ['to nothing', 0, /corrupt at byte 0: it has no end marker/],
  ])('a tar truncated %s is reported with file and offset', async (_, bytes, words) => {
    await using folder = await testFolder();
    await packed(folder.path);
    const path = join(folder.path, 'train/images_000.tar');
    await truncate(path, bytes);
    await expect(scanFile(path)).rejects.toMatchObject({ code: 'corrupt_tar', message: expect.stringMatching(words) });
    await expect(scanFile(path)).rejects.toMatchObject({ details: { file: path } });
  });

  const headerOf = (name: string, bytes: number, flag: string): Buffer => {
    const block = Buffer.alloc(512);
    block.write(name, 0);
    block.write(bytes.toString(8).padStart(11, '0'), 124);
    block.write(flag, 156);
    return block;
  };
  const withChecksum = (block: Buffer): Buffer => {
    block.write(' '.repeat(8), 148);
    const sum = block.reduce((total, byte) => total + byte, 0);
    block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
    return block;
  };
  /** A pax header of one record, as the entry before a file has it. */
  const paxHeader = (record: string, flag = 'x'): Buffer =>
    Buffer.concat([withChecksum(headerOf('pax', record.length, flag)), Buffer.from(record.padEnd(512, '\0'))]);
  const record = (text: string): string => `${text.length + 4} ${text}\n`;

  test.each<[string, (tar: Buffer) => Buffer, RegExp]>([
    ['a negative size', (tar) => Buffer.concat([paxHeader(record('size=-1536')), tar]), /the size in a pax record is not a number/],
    [
      'a size that is not a number',
      (tar) => Buffer.concat([paxHeader(record('size=12e3x')), tar]),
      /the size in a pax record is not a number/,
    ],
    ['a record without a length', (tar) => Buffer.concat([paxHeader('0x10 size=99'), tar]), /a pax record has no length/],
    ['one size for all files', (tar) => Buffer.concat([paxHeader(record('size=1536'), 'g'), tar]), /a global header/],
    ['the bytes of gzip', (tar) => gzipSync(tar), /is not a tar but a file of gzip/],
    ['another tar behind it', (tar) => Buffer.concat([tar, tar]), /there is data after the end marker/],
    ['something after a first block of zeros', (tar) => Buffer.concat([Buffer.alloc(512), tar]), /there is data after the end marker/],
  ])('a tar with %s is rejected', async (_, spoil, words) => {
    await using folder = await testFolder();
    await packed(folder.path);
    const path = join(folder.path, 'train/images_000.tar');
    await writeFile(path, spoil(await readFile(path)));
    await expect(scanFile(path)).rejects.toMatchObject({ code: 'corrupt_tar', message: expect.stringMatching(words) });
  });

  test('links, sparse files and images with other names are counted, as they cannot be indexed', async () => {
    await using folder = await testFolder();
    const path = join(folder.path, 'images_000.tar');
    await writeTar(path, [
      { header: { name: 'a/b/c/abc1.jpg' }, content: Buffer.from('one') },
      { header: { name: 'a/b/c/abc2.jpg', type: 'link', linkname: 'a/b/c/abc1.jpg' } },
      { header: { name: 'a/b/c/abc3.JPG' }, content: Buffer.from('three') },
      { header: { name: 'a/b/c/abc4.jpeg' }, content: Buffer.from('four') },
      { header: { name: 'a/b/c/a bc5.jpg' }, content: Buffer.from('five') },
      { header: { name: 'a/b/c/abc6.jpg', pax: { 'GNU.sparse.major': '1' } }, content: Buffer.from('six') },
    ]);
    expect(await scanFile(path)).toMatchObject({ members: [{ imageId: 'abc1' }], unindexed: 5, others: 0 });
  });

  test("what follows a sparse file of GNU's old format and a long link is found", async () => {
    await using folder = await testFolder();
    await packed(folder.path);
    const path = join(folder.path, 'train/images_000.tar');
    const sparse = headerOf('a/b/c/abc7.jpg', 3, 'S');
    sparse[482] = 1;
    const more = Buffer.alloc(512, '7');
    more[504] = 1;
    const last = Buffer.alloc(512, '7');
    last[504] = 0;
    const link = (flag: string, text: string): Buffer[] => [
      withChecksum(headerOf('././@LongLink', text.length, flag)),
      Buffer.from(text.padEnd(512, '\0')),
    ];
    const hard = [...link('L', `${'a/'.repeat(80)}abc8.jpg`), ...link('K', 'b/'.repeat(80)), withChecksum(headerOf('a/a/a/a', 0, '1'))];
    const entries = [withChecksum(sparse), more, last, Buffer.from('abc'.padEnd(512, '\0')), ...hard];
    await writeFile(path, Buffer.concat([...entries, await readFile(path)]));
    expect(await scanFile(path)).toMatchObject({
      members: [{ imageId: 'abc0' }, { imageId: 'bcd2' }, { imageId: 'def4' }],
      unindexed: 2,
      others: 0,
    });
  });

  test('an invalid header is reported with its offset', async () => {
    await using folder = await testFolder();
    await packed(folder.path);
    const path = join(folder.path, 'train/images_000.tar');
    const file = await readFile(path);
    file.fill('garbage', 1024, 1536);
    await writeFile(path, file);
    await expect(scanFile(path)).rejects.toThrow(/corrupt at byte 1024: the checksum of the header is wrong/);
  });

  test('a folder without tars is a missing file, and an abort ends the reading', async () => {
    await using folder = await testFolder();
    await expect(indexed(folder.path)).rejects.toMatchObject({ code: 'missing_file', details: { split: 'train' } });
    await packed(folder.path);
    await expect(indexed(folder.path, AbortSignal.abort(new Error('enough')))).rejects.toThrow('enough');
  });
});

test('a size of more than 8 GiB is read from its base-256 form', async () => {
  await using folder = await testFolder();
  const path = join(folder.path, 'one.tar');
  await writeTar(path, [{ header: { name: 'abc.jpg' }, content: Buffer.from('x') }]);
  const block = (await readFile(path)).subarray(0, blockBytes);
  const bytes = 20 * 2 ** 30;
  block.fill(0, 124, 136);
  block[124] = 0x80;
  block.writeBigUInt64BE(BigInt(bytes), 128);
  let sum = 8 * 0x20;
  for (const [i, byte] of block.entries()) if (i < 148 || i >= 156) sum += byte;
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  expect(tarHeader(block)).toEqual({ name: 'abc.jpg', bytes, kind: 'file', hasMore: false });
});
