import type {
  cancelRequest,
  datasetRequest,
  datasetView,
  gcRequest,
  problem,
  retryRequest,
  runPage,
  scheduleRequest,
  submitRequest,
  tokenCreated,
  tokenRequest,
} from '@cairn/contract';
import type { z } from 'zod';

const runId = 'run_01kaz4m8q2v7c9x3t5b6n8w0yd';
const datasetId = 'dst_01kaz4h2r6s8d0f3g5j7k9m1np';
const at = '2026-01-14T09:26:53.000Z';
const digest = '9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08';

const run: z.output<typeof runPage>['items'][number] = {
  id: runId,
  name: 'mini-baseline',
  recipe: 'mini',
  dataset: 'mini@1',
  owner: 'ada',
  state: 'running',
  cause: null,
  verdict: 'none',
  priority: 0,
  origin: { kind: 'person' },
  source: {
    ...{ provider: 'github', repository: 'example/landmarks', commit: '3b18e512dba79e4c8300dd08aeb37f8e728b8dad', ref: 'wider-margin' },
    ...{ pullRequest: 7, url: 'https://code.example.com/example/landmarks/pull/7' },
  },
  labels: { team: 'search' },
  group: null,
  onNewer: 'queue',
  cancelCause: null,
  hold: null,
  seq: 17,
  steps: { total: 12, done: 3, reused: 1 },
  createdAt: at,
  startedAt: at,
  finishedAt: null,
  updatedAt: at,
  share: 0.29,
  now: '384: 168 of 300 steps, 40.6 images/s',
  mapAt100: { best: 0.217, last: 0.217 },
  gpuSeconds: 1312.5,
  tags: ['baseline'],
  noteLine: 'The margin of the paper, with half the batch.',
  actions: [
    { action: 'cancel', isAllowed: true, why: null },
    { action: 'retry', isAllowed: false, why: 'the run is running; only a run that is succeeded, failed or cancelled can be retried' },
  ],
};

/** Request and response bodies by operation, as /docs shows them. A test checks each against its schema. */
export const requestExamples = {
  submitRun: {
    recipe: 'mini',
    dataset: 'mini',
    name: 'mini-baseline',
    set: { 'stages.384.epochs': 2 },
    labels: { team: 'search' },
  } satisfies z.input<typeof submitRequest>,
  addSchedule: {
    name: 'weekly',
    cron: '0 3 * * 1',
    zone: 'Europe/Zurich',
    run: { recipe: 'mini', dataset: 'mini' },
  } satisfies z.input<typeof scheduleRequest>,
  cancelRun: { reason: 'the learning rate is wrong' } satisfies z.input<typeof cancelRequest>,
  retryRun: { from: '512_finetune' } satisfies z.input<typeof retryRequest>,
  addDataset: {
    name: 'mini',
    source: { kind: 'folder', root: '/data/mini', metadata: '/data/mini', countries: null },
  } satisfies z.input<typeof datasetRequest>,
  createToken: { name: 'ci', role: 'submitter', expiresInDays: 90 } satisfies z.input<typeof tokenRequest>,
  collectGarbage: { dryRun: true } satisfies z.input<typeof gcRequest>,
};

export const answerExamples = {
  listRuns: { items: [run], nextCursor: null, total: 1 } satisfies z.output<typeof runPage>,
  addDataset: {
    id: datasetId,
    name: 'mini',
    version: 1,
    owner: 'ada',
    source: { kind: 'folder', root: '/data/mini', metadata: '/data/mini', countries: null },
    digest,
    digestBasis: 'sizes and times of the files of a folder',
    createdAt: at,
  } satisfies z.output<typeof datasetView>,
  createToken: {
    id: 'tok_01kaz4q7t9w1y3a5c7e9g1j3km',
    name: 'ci',
    role: 'submitter',
    createdAt: at,
    expiresAt: '2026-04-14T09:26:53.000Z',
    lastUsedAt: null,
    secret: 'cairn_3qJ9...',
  } satisfies z.output<typeof tokenCreated>,
};

export const problemExample: z.output<typeof problem> = {
  type: 'urn:cairn:error:unknown_recipe',
  title: 'Recipe not found',
  status: 404,
  code: 'unknown_recipe',
  detail: 'recipe "mni" not found; did you mean "mini"? The recipes are mini, tiny, fast',
  remedy: 'Use the suggested name, or list the recipes with `cairn recipes` or GET /v1/recipes.',
  retry: false,
  requestId: '0b7c1f0e-5a2d-4c3b-9f5e-2f1d7a6b8c90',
  details: { nearest: 'mini' },
};
