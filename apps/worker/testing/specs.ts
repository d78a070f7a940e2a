import type { AttemptSpec, AttemptSpecOf, InputArtifact } from '@cairn/contract';
import { protocol, stepSettings } from '@cairn/contract';
import { newId, sha256 } from '@cairn/runtime';

const model = { backbone: 'resnet18' } as const;
const smallStage = { from: 'init', list: 'clean', imageSize: 32, epochs: 1, learningRate: 0.03, batch: 2, ranks: 1, model };

type Kind = AttemptSpec['kind'];
type Builders = { [K in Kind]: (overrides: Partial<AttemptSpecOf<K>>) => AttemptSpecOf<K> };

const builders: Builders = {
  prepare: (overrides) => ({
    ...base('prepare'),
    kind: 'prepare',
    settings: stepSettings.prepare.parse({}),
    registered: null,
    ...overrides,
  }),
  train: (overrides) => ({ ...base('train'), kind: 'train', settings: stepSettings.train.parse(smallStage), ...overrides }),
  export: (overrides) => ({
    ...base('export'),
    kind: 'export',
    settings: stepSettings.export.parse({ imageSize: 32, model }),
    ...overrides,
  }),
  extract: (overrides) => ({
    ...base('extract'),
    kind: 'extract',
    settings: stepSettings.extract.parse({ list: 'index' }),
    earlier: null,
    ...overrides,
  }),
  scan: (overrides) => ({ ...base('scan_index'), kind: 'scan', settings: stepSettings.scan.parse({}), ...overrides }),
  search: (overrides) => ({ ...base('search'), kind: 'search', settings: stepSettings.search.parse({}), ...overrides }),
  tag: (overrides) => ({ ...base('tag_index'), kind: 'tag', settings: stepSettings.tag.parse({}), ...overrides }),
  vote: (overrides) => ({ ...base('vote_query'), kind: 'vote', settings: stepSettings.vote.parse({}), ...overrides }),
  rerank: (overrides) => ({
    ...base('rerank'),
    kind: 'rerank',
    settings: stepSettings.rerank.parse({ weights: { M0: 1, M1: 1, M2: 1 } }),
    ...overrides,
  }),
  evaluate: (overrides) => ({ ...base('evaluate'), kind: 'evaluate', settings: stepSettings.evaluate.parse({}), ...overrides }),
  register: (overrides) => ({
    ...base('register'),
    kind: 'register',
    settings: stepSettings.register.parse({ model: 'landmarks' }),
    ...overrides,
  }),
  finalize: (overrides) => {
    const id = newId('artifact');
    const artifact = { id, kind: 'features', prefix: `features/${id}/`, createdAt: '2026-11-01T12:00:00.000Z', details: {} } as const;
    return { ...base('extract_index'), kind: 'finalize', artifact, shards: 0, ...overrides };
  },
};

/** The spec of an attempt with quick heartbeats; `overrides` replace whole fields. */
export function specOf<K extends Kind>(kind: K, overrides: Partial<AttemptSpecOf<K>> = {}): AttemptSpecOf<K> {
  return builders[kind](overrides);
}

/** The fields that the specs of all kinds share. */
function base(step: string) {
  const attempt = { id: newId('attempt'), ordinal: 1, generation: 1 };
  return {
    protocol,
    attempt,
    run: { id: newId('run'), name: 'test-run' },
    step: { id: newId('step'), name: step },
    inputs: {},
    source: { kind: 'folder', root: '/nowhere', metadata: '/nowhere', countries: null },
    stagingPrefix: `staging/${attempt.id}/`,
    resume: [],
    heartbeatSeconds: 0.2,
    leaseSeconds: 30,
    hangSeconds: 60,
  } satisfies Partial<AttemptSpec>;
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
