import { execFile } from 'node:child_process';
import { parseAllDocuments } from 'yaml';
import { z } from 'zod';

const program = process.env.CAIRN_HELM || 'helm';
const limitMs = 30_000;

/**
 * The output of Helm 3: `helm` from the PATH, or the program of `CAIRN_HELM`.
 * @throws Error with its message when it fails or takes longer than 30 s
 */
export const helm = (...args: string[]): Promise<string> => helmWithin(limitMs, ...args);

/** For commands that wait for pods. */
export function helmWithin(timeout: number, ...args: string[]): Promise<string> {
  return new Promise((resolve, reject) => {
    execFile(program, args, { timeout, maxBuffer: 1 << 24 }, (error, stdout, stderr) => {
      if (error) reject(new Error(stderr.trim() || error.message, { cause: error }));
      else resolve(stdout);
    });
  });
}

const manifest = z.looseObject({
  apiVersion: z.string(),
  kind: z.string(),
  metadata: z.looseObject({
    name: z.string(),
    namespace: z.string().exactOptional(),
    annotations: z.record(z.string(), z.string()).exactOptional(),
    labels: z.record(z.string(), z.string()).exactOptional(),
  }),
});
export type Manifest = z.infer<typeof manifest>;

/** The objects of a Kubernetes YAML file; a duplicate key is an error. */
export function parseManifests(text: string): Manifest[] {
  return parseAllDocuments(text, { uniqueKeys: true })
    .map((document) => {
      if (document.errors[0]) throw document.errors[0];
      return document.toJS() as unknown;
    })
    .filter((object) => object !== null)
    .map((object) => manifest.parse(object));
}
