import { randomUUID } from 'node:crypto';
import { type FileHandle, open, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CairnError } from '@cairn/contract';
import type { Remote } from './create-sources.ts';

/** As large as a metadata file may be. */
const mostBytes = 4 * 1024 ** 3;

/**
 * A file of a source, downloaded into a file without a name: nobody else can change it, and it is gone when it is closed.
 *
 * @throws Error with the code ENOENT if it does not exist, as for a file of this machine; as the source does
 */
export async function fetchFile({ source, path }: Remote, address: string): Promise<FileHandle> {
  const found = await source.head(path);
  if (found === null) throw Object.assign(new Error(`${address} does not exist`), { code: 'ENOENT' });
  if (found.bytes > mostBytes) {
    const message = `${address} is too large: the maximum is ${mostBytes} bytes; register the right file`;
    throw new CairnError('bad_row', message, { details: { path: address, bytes: found.bytes, mostBytes } });
  }
  const name = join(tmpdir(), `cairn-${randomUUID()}`);
  const file = await open(name, 'wx+', 0o600);
  try {
    await rm(name);
    for await (const chunk of source.read(path, { expected: found, end: found.bytes }))
      for (let done = 0; done < chunk.length; ) done += (await file.write(chunk, done)).bytesWritten;
    return file;
  } catch (error) {
    await file.close();
    throw error;
  }
}
