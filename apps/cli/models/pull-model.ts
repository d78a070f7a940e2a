import { createHash, type Hash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdir, open, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { boundedBody, type CairnClient, wait } from '@cairn/client';
import { CairnError, isCairnError, type ModelCard, type PulledManifest, pulledManifest } from '@cairn/contract';
import { pathBelow, sha256 } from '@cairn/runtime';

type Pull = { client: CairnClient; card: ModelCard; out: string; signal: AbortSignal; onFile: (path: string, isNew: boolean) => void };

/** Consecutive tries of a file that brought no byte. */
const maxTries = 5;
/** Before the second try; longer before each further one. */
const waitMs = 500;

/**
 * Downloads a version of a model into a folder: its files, each compared with its SHA-256 as it is written and renamed when it is complete,
 * then the card, and last manifest.json. Repeated, it goes on from the byte that it had reached.
 *
 * @throws CairnError `invalid_request` for a folder that holds something else; `corrupt_artifact` for bytes that differ from the digest
 */
export async function pullModel(pull: Pull): Promise<PulledManifest> {
  const { client, card, out, signal } = pull;
  const manifest: PulledManifest = {
    ...{ model: card.model, version: card.version },
    files: card.files.map(({ path, bytes, sha256 }) => ({ path, bytes, sha256 })),
  };
  await mkdir(out, { recursive: true });
  await claimFolder(out, manifest);
  for (const file of card.files) await pullFile(pull, file);
  const markdown = await client.readModelCard(`${card.model}@${card.version}`, { signal });
  const cards = [
    { path: 'card.md', text: markdown },
    { path: 'card.json', text: textOf(card) },
  ];
  for (const { path, text } of cards) await replaceFile(join(out, path), text);
  const described = cards.map(({ path, text }) => ({ path, bytes: Buffer.byteLength(text), sha256: sha256(text) }));
  const whole = { ...manifest, files: [...manifest.files, ...described] };
  await replaceFile(join(out, unfinished), textOf(whole));
  await rename(join(out, unfinished), join(out, 'manifest.json'));
  return whole;
}

/** The manifest of a folder that is not complete. */
const unfinished = 'manifest.json.part';
const textOf = (value: unknown): string => `${JSON.stringify(value, null, 2)}\n`;

/** Two versions in one folder would be a model that nobody trained. */
async function claimFolder(out: string, manifest: PulledManifest): Promise<void> {
  const names = await readdir(out);
  const claimed = names.find((name) => name === 'manifest.json' || name === unfinished);
  if (claimed === undefined) {
    if (names.length > 0) throw taken(out, `it has other files, such as ${names[0]}`);
  } else {
    const found = pulledManifest.safeParse(await readJson(join(out, claimed))).data;
    if (found === undefined) throw taken(out, `its ${claimed} is not that of a pulled model`);
    const [mine, other] = [nameOf(manifest), nameOf(found)];
    if (mine !== other) throw taken(out, `it has ${other}, not ${mine}`);
  }
  await replaceFile(join(out, unfinished), textOf(manifest));
}

/** With the digests of the model's files: versions of two services may have the same number. */
const nameOf = ({ model, version, files }: PulledManifest): string => {
  const digests = files.filter(({ path }) => !cardNames.includes(path)).map((file) => file.sha256.slice(0, 12));
  return `${model}@${version} (${digests.join(', ')})`;
};
/** Cards say more with time, such as the aliases of a version. */
const cardNames = ['card.md', 'card.json'];

const readJson = async (path: string): Promise<unknown> => JSON.parse(await readFile(path, 'utf8').catch(() => 'null'));

function taken(out: string, why: string): CairnError {
  return new CairnError('invalid_request', `The model cannot be pulled into ${out}: ${why}`, {
    details: { remedy: 'Pass a new or empty folder with --out.' },
  });
}

type PulledFile = ModelCard['files'][number];

async function pullFile({ client, out, signal, onFile }: Pull, file: PulledFile): Promise<void> {
  const path = pathBelow(out, ...file.path.split('/'));
  await mkdir(dirname(path), { recursive: true });
  if ((await sizeOf(path)) === file.bytes && (await hashFile(path, signal)).digest('hex') === file.sha256) return onFile(file.path, false);
  const part = `${path}.part`;
  const found = await download(client, file, part, signal).catch(async (error: unknown) => {
    if (isCairnError(error, 'corrupt_artifact')) await rm(part);
    throw error;
  });
  if (found !== file.sha256) {
    await rm(part);
    throw corrupt(file, `the SHA-256 ${found} instead of ${file.sha256}`);
  }
  await rename(part, path);
  onFile(file.path, true);
}

function corrupt({ path }: PulledFile, what: string): CairnError {
  return new CairnError('corrupt_artifact', `${path} has ${what}; it was removed`, {
    details: { remedy: 'Pull the model again. If it happens again, the stored file is damaged.' },
  });
}

/** Fetches what is missing of a file, as often as a connection breaks, and returns the digest of all of it. */
async function download(client: CairnClient, file: PulledFile, part: string, signal: AbortSignal): Promise<string> {
  for (let failures = 0; ; ) {
    const before = await sizeOf(part);
    try {
      return await append(client, file, part, before, signal);
    } catch (error) {
      if (signal.aborted || !mayContinue(error)) throw error;
      failures = (await sizeOf(part)) > before ? 1 : failures + 1;
      if (failures >= maxTries) throw error;
      await wait(failures * waitMs, signal);
    }
  }
}

/** A connection that breaks in the middle of a body, or ends too early, is an error of fetch's own. */
const mayContinue = (error: unknown): boolean => !(error instanceof CairnError) || isCairnError(error, 'unavailable', 'rate_limited');

/**
 * Appends from byte `from` on. A service that ignores the range sends all of it: then the file begins again. More bytes than the card names
 * are never written.
 *
 * @throws CairnError `corrupt_artifact`
 */
async function append(client: CairnClient, file: PulledFile, part: string, from: number, signal: AbortSignal): Promise<string> {
  if (from >= file.bytes) return (await hashFile(part, signal)).digest('hex');
  const response = await client.openArtifactFile(file.artifactId, file.file, { from, signal });
  const isContinued = from > 0 && response.status === 206;
  const hash = isContinued ? await hashFile(part, signal) : createHash('sha256');
  const handle = await open(part, isContinued ? 'a' : 'w');
  try {
    const missing = file.bytes - (isContinued ? from : 0);
    for await (const bytes of boundedBody(response, missing, () => corrupt(file, `more than its ${file.bytes} bytes`))) {
      hash.update(bytes);
      await handle.appendFile(bytes);
    }
    await handle.sync();
  } finally {
    await handle.close();
  }
  return hash.digest('hex');
}

const sizeOf = async (path: string): Promise<number> => (await stat(path).catch(() => null))?.size ?? 0;

async function hashFile(path: string, signal: AbortSignal): Promise<Hash> {
  const hash = createHash('sha256');
  for await (const bytes of createReadStream(path, { signal })) hash.update(bytes);
  return hash;
}

async function replaceFile(path: string, text: string): Promise<void> {
  await writeFile(`${path}.new`, text);
  await rename(`${path}.new`, path);
}
