import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parse, parseAllDocuments } from 'yaml';
import { z } from 'zod';

export const chart = join(import.meta.dirname, '../cairn');
const helmProgram = process.env.CAIRN_HELM || 'helm';
const limitMs = 30_000;

export type Values = { [name: string]: Value };
export type Value = string | number | boolean | null | Value[] | Values;

const manifest = z.looseObject({
  apiVersion: z.string(),
  kind: z.string(),
  metadata: z.looseObject({ name: z.string(), namespace: z.string().optional(), annotations: z.record(z.string(), z.string()).optional() }),
});
export type Manifest = z.infer<typeof manifest>;

export const digest = `sha256:${'a'.repeat(64)}`;
export const workerImage = `example/cairn-worker@${digest}`;

/** The least that the chart takes, with secrets that a test can look for. */
export const minimal: Values = {
  image: { repository: 'example/cairn-control-plane' },
  database: { url: 'postgres://cairn:password-of-the-database@db:5432/cairn' },
  storage: { url: 's3://cairn/production' },
  networkPolicy: { objectStorage: { cidrs: ['10.20.0.0/16'] } },
  pools: [{ name: 'gpu', slots: 32, settings: { image: workerImage } }],
};

export type Rendered = { manifests: Manifest[]; text: string };

/**
 * `helm template` with the values, as release `cairn` of namespace `ml`.
 * @throws Error with what Helm says, when it refuses them
 */
export async function render(values: Values = minimal, args: readonly string[] = []): Promise<Rendered> {
  const text = await withValues(values, (file) =>
    helm('template', 'cairn', chart, '--namespace', 'ml', '--kube-version', '1.34.0', '--values', file, ...args),
  );
  return { text, manifests: parseManifests(text) };
}

/** What Helm says against the values. */
export async function refusal(values: Values): Promise<string> {
  try {
    await render(values);
  } catch (error) {
    return String(error);
  }
  throw new Error('these values should have been refused');
}

export async function withValues<T>(values: Values, work: (file: string) => Promise<T>): Promise<T> {
  const folder = await mkdtemp(join(tmpdir(), 'cairn-chart-'));
  try {
    const file = join(folder, 'values.yaml');
    await writeFile(file, JSON.stringify(values));
    return await work(file);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

export function helm(...args: string[]): Promise<string> {
  return new Promise((resolve, reject) => {
    execFile(helmProgram, args, { timeout: limitMs, maxBuffer: 1 << 24 }, (error, stdout, stderr) => {
      if (error) reject(new Error(stderr.trim() || error.message, { cause: error }));
      else resolve(stdout);
    });
  });
}

export function parseManifests(text: string): Manifest[] {
  return parseAllDocuments(text, { uniqueKeys: true })
    .map((document) => {
      if (document.errors[0]) throw document.errors[0];
      return document.toJS() as unknown;
    })
    .filter((object) => object !== null)
    .map((object) => manifest.parse(object));
}

export const readYaml = async (path: string): Promise<unknown> => parse(await readFile(path, 'utf8'));

/** The values with others in place of them, key by key; lists are replaced whole, as Helm does. */
export function changed(values: Values, change: Values): Values {
  const result: Values = { ...values };
  for (const [name, value] of Object.entries(change)) {
    const before = result[name];
    result[name] = isMap(before) && isMap(value) ? changed(before, value) : value;
  }
  return result;
}

const isMap = (value: Value | undefined): value is Values => typeof value === 'object' && value !== null && !Array.isArray(value);
