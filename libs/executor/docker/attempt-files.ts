import { basename } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { pack } from 'tar-stream';
import { workDir } from '../agent-environment.ts';
import { secretsFile } from './container-spec.ts';

/** A tar of what an attempt's volume holds from the start: the work folder and the file of secrets, both its user's alone. */
export async function attemptFiles(secrets: string, user: number): Promise<Buffer> {
  const archive = pack();
  const owner = { uid: user, gid: user };
  archive.entry({ ...owner, name: basename(workDir), type: 'directory', mode: 0o700 });
  archive.entry({ ...owner, name: basename(secretsFile), mode: 0o400 }, secrets);
  archive.finalize();
  return buffer(archive);
}
