import { readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import type { StepKind } from '@cairn/contract';
import { sha256 } from '@cairn/runtime';

const root = path.join(import.meta.dirname, '../..');

/** The folders whose program text makes each kind's result. A change there makes earlier results strangers. */
const codeOf = {
  prepare: ['libs/dataset/lists', 'libs/dataset/metadata', 'libs/dataset/tars'],
  train: ['docker/trainer/cairn_trainer'],
  export: ['docker/trainer/cairn_trainer'],
  extract: ['libs/retrieval/image', 'libs/retrieval/features', 'libs/retrieval/onnx'],
  search: ['libs/retrieval/search'],
  evaluate: ['libs/retrieval/metrics'],
  register: [],
} as const satisfies Record<StepKind, readonly string[]>;

/** Digest of each kind's program: over the names and bytes of its source files, tests left out. */
export async function readCodeDigests(): Promise<Record<StepKind, string>> {
  const entries = await Promise.all(Object.entries(codeOf).map(async ([kind, folders]) => [kind, await digestOf(folders)] as const));
  return Object.fromEntries(entries) as Record<StepKind, string>;
}

async function digestOf(folders: readonly string[]): Promise<string> {
  const parts: string[] = [];
  for (const folder of folders) {
    const names = (await readdir(path.join(root, folder), { recursive: true })).filter(
      (name) => /\.(ts|py|onnx)$/.test(name) && !/(\.test\.ts|(^|\/)test_[^/]*)$/.test(name),
    );
    for (const name of names.sort()) parts.push(`${folder}/${name} ${sha256(await readFile(path.join(root, folder, name)))}`);
  }
  return sha256(parts.join('\n'));
}
