import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { type StepKind, stepVersions } from '@cairn/contract';

const root = join(import.meta.dirname, '../../..');

/** The entry points of each kind's code, with the pinned packages that compute; their imports belong to it too. */
const entries = {
  prepare: ['apps/worker/steps/run-prepare.ts', 'libs/dataset/package.json'],
  train: ['apps/worker/train/run-train.ts', 'docker/trainer/cairn_trainer/rank.py', 'docker/trainer/requirements.txt'],
  export: ['apps/worker/train/run-export.ts', 'docker/trainer/cairn_trainer/export.py', 'docker/trainer/requirements.txt'],
  extract: [
    'apps/worker/extract/run-extract.ts',
    'apps/worker/extract/extraction-jobs.ts',
    'libs/retrieval/image/decode-thread.ts',
    'libs/retrieval/image/resize-kernels.as',
    'libs/retrieval/package.json',
  ],
  scan: [
    'apps/worker/steps/run-scan.ts',
    'apps/worker/fleet/row-jobs.ts',
    'libs/retrieval/parquet/open-parquet.ts',
    'libs/retrieval/search/scan-index.ts',
    'libs/retrieval/onnx/make_graphs.py',
    'libs/retrieval/package.json',
  ],
  search: [
    'apps/worker/steps/run-search.ts',
    'apps/worker/steps/search-job.ts',
    'libs/retrieval/onnx/make_graphs.py',
    'libs/retrieval/package.json',
  ],
  tag: [
    'apps/worker/steps/run-tag.ts',
    'apps/worker/fleet/row-jobs.ts',
    'libs/retrieval/parquet/open-parquet.ts',
    'libs/retrieval/rerank/tag-images.ts',
    'libs/retrieval/onnx/make_graphs.py',
    'libs/retrieval/package.json',
  ],
  vote: [
    'apps/worker/steps/run-vote.ts',
    'apps/worker/fleet/row-jobs.ts',
    'libs/retrieval/parquet/open-parquet.ts',
    'libs/retrieval/rerank/open-voting.ts',
    'libs/retrieval/onnx/make_graphs.py',
    'libs/retrieval/package.json',
  ],
  rerank: [
    'apps/worker/steps/run-rerank.ts',
    'apps/worker/steps/rerank-job.ts',
    'docker/trainer/cairn_trainer/match_images.py',
    'docker/trainer/requirements.txt',
    'libs/retrieval/onnx/make_graphs.py',
    'libs/retrieval/package.json',
  ],
  evaluate: ['apps/worker/steps/run-evaluate.ts'],
  register: ['apps/worker/steps/run-register.ts'],
} as const satisfies Record<StepKind, readonly string[]>;

/** Code that transports results without producing them: a change there does not change any. */
const irrelevantToResults = [
  /^apps\/worker\/(agent|child|program|report)\//,
  /^libs\/(contract|runtime|client|storage|executor)\//,
  /^docker\/trainer\/cairn_trainer\/(events|errors|lifetime|loaders|progress|launch|start|gpu)\.py$/,
];

/** Digests of the files that a kind's results depend on, by path, without comments. */
export type StepCode = { version: number; files: Record<string, string> };

export function readStepCode(): Record<StepKind, StepCode> {
  const kinds = Object.entries(entries) as [StepKind, readonly string[]][];
  return Object.fromEntries(kinds.map(([kind, begins]) => [kind, { version: stepVersions[kind], files: filesFrom(begins) }])) as Record<
    StepKind,
    StepCode
  >;
}

function filesFrom(begins: readonly string[]): Record<string, string> {
  const files = new Map<string, string>();
  const open = [...begins];
  for (let file = open.pop(); file !== undefined; file = open.pop()) {
    if (files.has(file) || irrelevantToResults.some((pattern) => pattern.test(file ?? ''))) continue;
    const text = readFileSync(join(root, file), 'utf8');
    files.set(file, createHash('sha256').update(withoutComments(file, text)).digest('hex').slice(0, 12));
    if (file.endsWith('.py')) open.push(...importsOfPython(text));
    if (file.endsWith('.ts')) open.push(...importsOfTypeScript(file, text));
  }
  return Object.fromEntries([...files].sort(([a], [b]) => (a < b ? -1 : 1)));
}

/** Only whole lines of comments are removed: a change of a trailing comment or a docstring needs a decision, which takes a moment. */
function withoutComments(file: string, text: string): string {
  const isComment = file.endsWith('.py') ? /^\s*#/ : /^\s*(\/\/|\/\*\*|\*)/;
  return text
    .split('\n')
    .filter((line) => !isComment.test(line) && line.trim() !== '')
    .join('\n');
}

function importsOfTypeScript(file: string, text: string): string[] {
  const found: string[] = [];
  for (const [, names = '', target = ''] of text.matchAll(/(?:import|export)\s+(?!type\b)([^'";]*?)from\s+'([^']+)'/g)) {
    if (target.startsWith('.')) found.push(relative(root, join(root, dirname(file), target)));
    else if (target.startsWith('@cairn/')) found.push(...filesOfLibrary(target.slice('@cairn/'.length), namesOf(names)));
  }
  for (const [, target = ''] of text.matchAll(/import\('(\.[^']+)'\)/g)) found.push(relative(root, join(root, dirname(file), target)));
  for (const [, names = '', target = ''] of text.matchAll(/\{([^{}]*)\}\s*=\s*await import\('@cairn\/([^']+)'\)/g))
    found.push(...filesOfLibrary(target, namesOf(names)));
  return found;
}

const namesOf = (list: string): string[] =>
  list
    .replace(/[{}]/g, '')
    .split(',')
    .map((name) => name.trim())
    .filter((name) => name !== '' && !name.startsWith('type '))
    .map((name) => name.split(/\s+as\s+/)[0] ?? name);

/** The files of a library that define the names imported from it. */
function filesOfLibrary(library: string, names: readonly string[]): string[] {
  const folder = `libs/${library}`;
  if (irrelevantToResults.some((pattern) => pattern.test(`${folder}/`))) return [];
  const index = readFileSync(join(root, folder, 'index.ts'), 'utf8');
  const exported = [...index.matchAll(/export\s+(?:\*|(?:type\s+)?\{([^}]*)\})\s+from\s+'\.\/([^']+)'/g)];
  return names.map((name) => {
    const at = exported.find(([, listed, path = '']) =>
      listed === undefined ? definesIn(`${folder}/${path}`, name) : namesOf(listed).includes(name),
    );
    if (at === undefined) throw new Error(`${folder}/index.ts does not export ${name} in a form that this supports`);
    return `${folder}/${at[2]}`;
  });
}

const definesIn = (file: string, name: string): boolean =>
  new RegExp(`export (async )?(function\\*?|const|class) ${name}\\b`).test(readFileSync(join(root, file), 'utf8'));

function importsOfPython(text: string): string[] {
  const folder = 'docker/trainer/cairn_trainer';
  const found: string[] = [];
  for (const [, path = '', names = ''] of text.matchAll(/^\s*from cairn_trainer(?:\.([\w.]+))? import (\([^)]*\)|.+)$/gm)) {
    const parts = path === '' ? namesOf(names.replace(/[()]/g, '').replace(/#.*$/gm, '')) : [path.replaceAll('.', '/')];
    found.push(...parts.map((part) => moduleFile(folder, part)).flatMap((file) => file ?? []));
  }
  return found;
}

function moduleFile(folder: string, name: string): string | null {
  const isPackage = readdirSync(join(root, folder, dirname(name)), { withFileTypes: true }).some(
    (entry) => entry.isDirectory() && entry.name === name.split('/').at(-1),
  );
  const file = isPackage ? `${folder}/${name}/__init__.py` : `${folder}/${name}.py`;
  try {
    readFileSync(join(root, file));
    return file;
  } catch {
    return null;
  }
}
