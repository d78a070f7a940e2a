import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { CairnError } from '@cairn/contract';
import { imageIdPattern } from '../image-path.ts';
import { afterContent, blockBytes, paxOverrides, tarHeader } from './tar-header.ts';

/** An image inside a tar: its bytes are `offset` to `offset + size` of the file. */
export type TarMember = { imageId: string; offset: number; size: number };

export type ScannedTar = {
  bytes: number;
  members: TarMember[];
  /** Files that are not images: their names do not end in `ID.jpg`. */
  others: number;
};

/** The event loop gets a turn at least this often. */
const turnMs = 20;
const longestName = 64 * 1024;

/**
 * Lists the images of a tar by reading its headers alone: 512 bytes each, the content is skipped. Reads are synchronous (a
 * header takes microseconds, a promise would cost ten times that), with a turn for others every 20 ms.
 *
 * @throws CairnError `corrupt_tar` naming file and offset; the signal's reason.
 */
export async function scanTar(path: string, signal?: AbortSignal): Promise<ScannedTar> {
  const file = openSync(path, 'r');
  try {
    const { size: bytes } = fstatSync(file);
    const members: TarMember[] = [];
    const block = Buffer.allocUnsafe(blockBytes);
    let others = 0;
    let at = 0;
    let next: { name?: string; bytes?: number } = {};
    let turn = performance.now();
    const corrupt = (why: string, cause?: unknown): CairnError =>
      new CairnError('corrupt_tar', `${path} is corrupt at byte ${at}: ${why}; fetch it again`, {
        details: { file: path, offset: at, bytes },
        cause,
      });
    for (;;) {
      signal?.throwIfAborted();
      if (performance.now() - turn > turnMs) {
        await new Promise((resolve) => setImmediate(resolve));
        turn = performance.now();
      }
      if (readSync(file, block, 0, blockBytes, at) < blockBytes) throw corrupt(`it ends without the mark of its end, ${bytes} bytes long`);
      const header = parsed(() => tarHeader(block), corrupt);
      if (header === null) return { bytes, members, others };
      const offset = at + blockBytes;
      const size = header.kind === 'file' ? (next.bytes ?? header.bytes) : header.bytes;
      const name = next.name ?? header.name;
      if (offset + size > bytes) throw corrupt(`${name} has ${size} bytes, but only ${bytes - offset} follow`);
      if (header.kind === 'paxHeader' || header.kind === 'longName') {
        if (size > longestName) throw corrupt(`a name of ${size} bytes`);
        const content = Buffer.alloc(size);
        readSync(file, content, 0, size, offset);
        const named =
          header.kind === 'longName'
            ? { name: content.toString('utf8').replace(/\0.*$/s, '') }
            : parsed(() => paxOverrides(content), corrupt);
        next = { ...next, ...named };
      } else {
        if (header.kind === 'file') {
          const imageId = imageIdOf(name);
          if (imageId === null) others += 1;
          else members.push({ imageId, offset, size });
        }
        next = {};
      }
      at = afterContent(offset, size);
    }
  } finally {
    closeSync(file);
  }
}

function parsed<T>(read: () => T, corrupt: (why: string, cause: unknown) => CairnError): T {
  try {
    return read();
  } catch (error) {
    throw corrupt(error instanceof RangeError ? error.message : 'the header cannot be read', error);
  }
}

/** `a/b/c/abc....jpg` -> `abc...`; null for other files. */
function imageIdOf(name: string): string | null {
  const id = name.slice(name.lastIndexOf('/') + 1);
  return id.endsWith('.jpg') && imageIdPattern.test(id.slice(0, -4)) ? id.slice(0, -4) : null;
}
