import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { openAsBlob } from 'node:fs';
import { stat } from 'node:fs/promises';
import { basename, resolve } from 'node:path';
import {
  CairnError,
  type ErrorCode,
  errorTable,
  isCairnError,
  matcherForm,
  maxWeightsBytes,
  safeName,
  type WeightsQuery,
  type WeightsView,
} from '@cairn/contract';
import { isolatedPython, sha256File, withoutPythonVariables } from '@cairn/runtime';
import { z } from 'zod';
import type { Session } from '../cli.ts';
import { formatBytes } from '../output/units.ts';

export type UploadOptions = {
  /** Of tensors; a matcher has none. */
  backbone?: string;
  name?: string;
  source?: string;
  licence?: string;
  extent?: WeightsQuery['extent'];
};

/** The answer of docker/trainer's check_import for a valid file; a matcher has no tensors of ours. */
const checked = z.object({
  tensors: z.number().int().default(0),
  parameters: z.number().int().default(0),
  embeddingDim: z.number().int().optional(),
  classes: z.number().int().optional(),
});

/**
 * Checks a file, of tensors against its backbone, and uploads it to the service, unless it is there already.
 *
 * @throws CairnError `missing_file`, `payload_too_large`, `unsafe_file`, `unreadable_file`, `model_mismatch`, and those of the service
 */
export async function uploadWeights(
  session: Session,
  file: string,
  content: WeightsQuery['content'],
  options: UploadOptions,
): Promise<{ weights: WeightsView; isNew: boolean; tensors: number; parameters: number }> {
  const { ui, signal } = session;
  const path = resolve(file);
  const name = nameOf(path, options.name);
  await requireFile(path);
  // First what can fail quickly: a service that cannot be reached.
  const client = await session.client();
  const there = await client.getWeights(name, { signal }).catch((error: unknown) => {
    if (isCairnError(error, 'not_found')) return null;
    throw error;
  });
  const { backbone, source, licence, extent = 'all' } = options;
  const args = [content, '--file', path, ...(backbone === undefined ? [] : ['--backbone', backbone]), '--extent', extent];
  const { tensors, parameters, ...shape } = await runPython(session, 'cairn_trainer.check_import', args, checked);
  const sha256 = await sha256File(path, signal);
  const suffix = /-([0-9a-f]{8})$/.exec(name)?.[1];
  if (suffix !== undefined && !sha256.startsWith(suffix))
    ui.note(
      ui.style.warn(`The name ${name} claims a sha256 that begins with ${suffix}, but the file's begins with ${sha256.slice(0, 8)}.`),
    );
  if (there?.sha256 === sha256 && there.content === content && there.backbone === (backbone ?? matcherForm) && there.extent === extent)
    return { weights: there, isNew: false, tensors, parameters };
  const described = { content, extent, sha256, ...shape };
  const given = {
    ...(backbone === undefined ? {} : { backbone }),
    ...(source === undefined ? {} : { source }),
    ...(licence === undefined ? {} : { licence }),
  };
  const weights = await client.importWeights(name, { ...described, ...given }, await openAsBlob(path), { signal });
  return { weights, isNew: true, tensors, parameters };
}

/** Its name in recipes: the file's, as publishers name them, without its extension. */
function nameOf(path: string, given: string | undefined): string {
  const name = given ?? basename(path).replace(/\.(pth\.tar|pth|pt|bin|safetensors|onnx)$/, '');
  const parsed = safeName.safeParse(name);
  if (parsed.success) return parsed.data;
  throw new CairnError('invalid_request', `"${name}" is not a valid name for weights: ${parsed.error.issues[0]?.message}`, {
    details: { remedy: 'Set one with --name.' },
  });
}

async function requireFile(path: string): Promise<void> {
  // An error that hides a file, such as an unreadable folder, does not mean that it is missing: it is reported as it is.
  const found = await stat(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return null;
    throw error;
  });
  if (!found?.isFile()) {
    throw new CairnError('missing_file', `No file ${path}`, { details: { remedy: 'Use the path of the file to import.' } });
  }
  if (found.size > maxWeightsBytes) {
    throw new CairnError(
      'payload_too_large',
      `${path} has ${formatBytes(found.size)}; at most ${formatBytes(maxWeightsBytes)} are accepted`,
    );
  }
}

const maxOutputBytes = 4000;

const refusal = z.object({
  code: z.enum(Object.keys(errorTable) as [ErrorCode, ...ErrorCode[]]),
  message: z.string(),
  mismatches: z.array(z.string()).default([]),
});

/**
 * Runs a program of docker/trainer that prints one JSON object to standard output, and returns the object. Files from elsewhere
 * are opened only in that program.
 *
 * @throws CairnError the program's reason for rejecting the file, `invalid_configuration` without Python, `program_failed`
 */
export async function runPython<T>({ cli, signal }: Session, module: string, args: readonly string[], answer: z.ZodType<T>): Promise<T> {
  const python = cli.env.CAIRN_PYTHON ?? 'python3';
  const child = spawn(python, isolatedPython(module, args), {
    env: withoutPythonVariables(cli.env),
    stdio: ['ignore', 'pipe', 'pipe'],
    signal,
  });
  let [out, err] = ['', ''];
  child.stdout.on('data', (data: Buffer) => {
    out += data.toString();
  });
  child.stderr.on('data', (data: Buffer) => {
    err = (err + data.toString()).slice(-maxOutputBytes);
  });
  const [code] = await once(child, 'close').catch((cause: unknown) => {
    if (signal.aborted) throw signal.reason;
    throw new CairnError('invalid_configuration', `The interpreter ${python} cannot be started`, {
      details: { remedy: 'Set CAIRN_PYTHON to an interpreter that has the packages of docker/trainer/requirements.txt.' },
      cause,
    });
  });
  const output = jsonOf(out);
  const refused = refusal.safeParse(output);
  if (refused.success) throw new CairnError(refused.data.code, refused.data.message, { details: { mismatches: refused.data.mismatches } });
  const parsed = answer.safeParse(output);
  if (code === 0 && parsed.success) return parsed.data;
  throw new CairnError('program_failed', `${module}, run by ${python}, exited with code ${code}. Its last output:\n${err.trim()}`, {
    details: { remedy: 'Set CAIRN_PYTHON to an interpreter that has the packages of docker/trainer/requirements.txt.' },
  });
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
