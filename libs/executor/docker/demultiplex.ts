/** Stream, three zero bytes, length of the payload. */
const headerBytes = 8;

/** The text of a container's log as the engine sends it: frames of standard output and standard error, in their order. */
export function demultiplex(frames: Buffer): string {
  const parts: Buffer[] = [];
  let at = 0;
  while (at + headerBytes <= frames.length) {
    const length = frames.readUInt32BE(at + 4);
    parts.push(frames.subarray(at + headerBytes, at + headerBytes + length));
    at += headerBytes + length;
  }
  return Buffer.concat(parts).toString('utf8');
}
