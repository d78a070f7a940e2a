import { createHash } from 'node:crypto';
import { CairnError } from '@cairn/contract';
import type { Remote } from '../sources/create-sources.ts';
import { type ScannedTar, tarScan } from './scan-tar.ts';

export type ScannedRemoteTar = ScannedTar & { md5: string; changedAtMs: number; etag: string | null };

/**
 * Lists the images of a tar in a source and computes its md5 in one pass over its bytes: a request for each header would be thousands.
 *
 * @throws CairnError `missing_file`, `corrupt_tar` naming file and offset; as the source does
 */
export async function scanRemoteTar({ source, path }: Remote, address: string, signal?: AbortSignal): Promise<ScannedRemoteTar> {
  const file = await source.head(path, signal);
  if (file === null) throw new CairnError('missing_file', `The tar ${address} does not exist: restore it`, { details: { file: address } });
  const md5 = createHash('md5');
  const scan = tarScan(address, file.bytes);
  let step = scan.next();
  let [position, wanted, filled] = [0, Buffer.alloc(0), 0];
  const begin = (): void => {
    [wanted, filled] = [Buffer.alloc(step.done ? 0 : step.value.length), 0];
  };
  begin();
  for await (const chunk of source.read(path, { end: file.bytes, expected: file, signal })) {
    md5.update(chunk);
    // Everything that the scan asks for within this chunk.
    while (!step.done) {
      const from = step.value.at + filled - position;
      if (from >= chunk.length) break;
      const part = chunk.subarray(from, from + wanted.length - filled);
      wanted.set(part, filled);
      filled += part.length;
      if (filled < wanted.length) break;
      step = scan.next(wanted);
      begin();
    }
    position += chunk.length;
  }
  // What it still asks for is behind the end.
  while (!step.done) step = scan.next(wanted.subarray(0, filled));
  return { ...step.value, md5: md5.digest('hex'), changedAtMs: file.changedMs, etag: file.etag };
}
