import type { AttemptSpec, AttemptSpecOf, InputArtifact } from '@cairn/contract';
import { stepSettings } from '@cairn/contract';
import { newId, sha256 } from '@cairn/runtime';

type Settings = { [K in AttemptSpec['kind']]: AttemptSpecOf<K>['settings'] };

const defaults: Settings = {
  prepare: stepSettings.prepare.parse({}),
  train: stepSettings.train.parse({
    from: 'init',
    list: 'clean',
    imageSize: 32,
    epochs: 1,
    learningRate: 0.03,
    batch: 2,
    ranks: 1,
    model: { backbone: 'resnet18' },
  }),
  export: stepSettings.export.parse({ imageSize: 32, model: { backbone: 'resnet18' } }),
  extract: stepSettings.extract.parse({ list: 'index' }),
  search: stepSettings.search.parse({}),
  evaluate: stepSettings.evaluate.parse({}),
  register: stepSettings.register.parse({ model: 'landmarks' }),
};

/** The spec of an attempt with quick heartbeats; `overrides` replace whole fields. */
export function specOf<K extends AttemptSpec['kind']>(kind: K, overrides: Partial<AttemptSpecOf<K>> = {}): AttemptSpecOf<K> {
  const attempt = { id: newId('attempt'), ordinal: 1, generation: 1 };
  const spec = {
    protocol: 1,
    kind,
    attempt,
    run: { id: newId('run'), name: 'test-run' },
    step: { id: newId('step'), name: kind },
    inputs: {},
    source: { kind: 'folder', root: '/nowhere', metadata: '/nowhere', countries: null },
    stagingPrefix: `staging/${attempt.id}/`,
    resume: [],
    heartbeatSeconds: 0.2,
    leaseSeconds: 30,
    hangSeconds: 60,
    settings: defaults[kind],
    ...overrides,
  };
  // The union of kinds cannot be followed through a type parameter; the agent parses what it gets.
  return spec as unknown as AttemptSpecOf<K>;
}

/** An input artifact with the files as given, below `prefix`. */
export function artifactOf(
  kind: InputArtifact['kind'],
  prefix: string,
  files: Record<string, Uint8Array>,
  details: Record<string, unknown> = {},
): InputArtifact {
  return {
    id: newId('artifact'),
    kind,
    digest: sha256(prefix),
    prefix,
    files: Object.entries(files).map(([name, bytes]) => ({ name, bytes: bytes.length, sha256: sha256(bytes) })),
    details,
  };
}
