/**
 * Whose fault it is that an image cannot be read: its own, so that it is recorded, left out and counted; or the machine's, so that the
 * attempt ends and is tried again. docs/architecture.md ("Bad images") has the table for the trainer too.
 */
const ownFaults: Readonly<Record<string, 'missing' | 'not_a_file' | 'no_permission'>> = {
  ENOENT: 'missing',
  ENOTDIR: 'missing',
  EISDIR: 'not_a_file',
  ELOOP: 'not_a_file',
  ENAMETOOLONG: 'not_a_file',
  ENXIO: 'not_a_file',
  // Of one file; that of the root, or of a split's folder, is the machine's (see `openImageReader`).
  EACCES: 'no_permission',
  EPERM: 'no_permission',
};

/** Why an image cannot be had, when the fault is the image's own; null for a fault of the machine: EIO, ESTALE, ENOTCONN, EMFILE, ENOMEM and all others. */
export function faultOfImage(error: unknown): (typeof ownFaults)[string] | null {
  const code = error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : '';
  return ownFaults[code] ?? null;
}
