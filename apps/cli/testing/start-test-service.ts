import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { createClient } from '@cairn/client';
import { findEvaluation } from '@cairn/db';
import { dueJudgement, gateJudged } from '@cairn/engine';
import { openEngineHarness, smallRecipe } from '@cairn/engine/testing';
import { judgeEvaluation, queryScoreReader } from '@cairn/judging';
import { storeEvaluation } from '@cairn/judging/testing';
import { createCloser } from '@cairn/runtime';
import { openStore } from '@cairn/storage';
import { bareEnvironment, freePort, makeRunFolder, removeRunFolder, serverProgram } from '@cairn/testing';
import { afterAll } from 'vitest';
import { type Service, type ServiceOptions, startService } from '../service/start-service.ts';
import type { ProgramSpec } from '../service/supervised-program.ts';

export type TestServiceOptions = Pick<ServiceOptions, 'home' | 'python' | 'env' | 'signal'> &
  Partial<Pick<ServiceOptions, 'internalPort' | 'slots' | 'onEvent'>> & {
    /** Folders that may hold datasets, in addition to the home's own. */
    datasetRoots?: readonly string[];
    /** Variables of all programs, which override those of the service. */
    variables?: Readonly<Record<string, string>>;
    controllerVariables?: Readonly<Record<string, string>>;
    /** One is the leader, the others are spares. */
    controllers?: number;
  };

/** A service on free ports, with a database that is fast and not safe against power failures. */
export async function startTestService({
  datasetRoots = [],
  variables = {},
  controllerVariables = {},
  controllers = 1,
  ...options
}: TestServiceOptions): Promise<Service> {
  const roots: Record<string, string> = datasetRoots.length === 0 ? {} : { CAIRN_DATASET_ROOTS: datasetRoots.join(':') };
  const withVariables = (spec: ProgramSpec, own: Readonly<Record<string, string>> = {}): ProgramSpec => ({
    ...spec,
    env: { ...spec.env, ...roots, ...variables, ...own },
  });
  return startService(
    { port: 0, internalPort: 0, slots: 2, onEvent: () => undefined, ...options },
    {
      isDurable: false,
      arrange: ({ migrate, api, controllers: [controller], worker }) => ({
        migrate: withVariables(migrate),
        api: withVariables(api),
        controllers: [
          withVariables(controller, controllerVariables),
          ...Array.from({ length: controllers - 1 }, (_, index) => replica(withVariables(controller, controllerVariables), index + 2)),
        ],
        worker: withVariables(worker),
      }),
    },
  );
}

function replica(spec: ProgramSpec, number: number): ProgramSpec {
  const name = `${spec.name}-${number}`;
  return { ...spec, name, logFile: join(spec.logFile, '..', `${name}.log`) };
}

const root = join(import.meta.dirname, '..', '..', '..');
const token = 'cairn_the-admin-of-the-tests';

const secrets = { CAIRN_SERVER_KEY: 'a server key for tests, 32 or more', CAIRN_SECRETS_KEYS: 'k1:a-key-for-secrets-in-tests-32-or-more' };

/** A real api on a database and a storage of its own; the test plays the controller and the attempts, so that nothing is trained. */
export async function openPlayedService() {
  const closer = createCloser();
  afterAll(() => closer.close());
  const harness = await openEngineHarness();
  closer.add('the engine harness', () => harness.close());
  const folder = await makeRunFolder();
  closer.add('the folder', () => removeRunFolder(folder));
  const storage = pathToFileURL(join(folder, 'storage')).href;
  const [port, internalPort] = [await freePort(), await freePort()];
  const url = `http://127.0.0.1:${port}`;
  const client = createClient({ url, token });
  const server = serverProgram({
    name: 'the api',
    program: process.execPath,
    args: [join(root, 'apps', 'api', 'main.ts')],
    place: {
      env: {
        ...bareEnvironment(),
        ...{ CAIRN_DATABASE_URL: harness.databaseUrl, CAIRN_STORAGE_URL: storage, CAIRN_ADMIN_TOKEN: token },
        ...secrets,
        CAIRN_API_PORT: String(port),
        CAIRN_INTERNAL_PORT: String(internalPort),
      },
    },
    logFile: join(folder, 'api.log'),
    probe: async () => void (await createClient({ url, token, tries: 1 }).getFleet({ timeoutMs: 2_000 })),
    startLimitMs: 240_000,
  });
  closer.add('the api', () => server.end('SIGKILL'));
  await server.start();
  const store = openStore(storage);
  const { prisma, ctx } = harness;

  /** Plays a run to its end, with these scores of its queries, and judges it by its gate. */
  async function playRun(runId: string, scores: readonly number[]): Promise<void> {
    for (let names = await harness.ready(runId); names.length > 0; names = await harness.ready(runId)) {
      for (const name of names) {
        if (name === 'register') await storeEvaluation({ prisma, store }, { runId, scores });
        await harness.play(runId, name);
      }
    }
    const due = await dueJudgement(ctx, runId, 1);
    if (due === null) return;
    const { projectId } = due.actor;
    const found = await findEvaluation(prisma, { projectId, reference: runId });
    const parts = { prisma, readScores: queryScoreReader(store) };
    const judged = await judgeEvaluation(parts, { projectId, found, runId, question: due.gate }, AbortSignal.timeout(20_000));
    await gateJudged(ctx, due, judged, judged.baseline?.version ?? null);
  }

  /** An empty folder of the test file. */
  const makeFolder = async (name: string): Promise<string> => {
    const path = join(folder, name);
    await mkdir(path, { recursive: true });
    return path;
  };
  /** What a real controller of the same service needs. */
  const controllerEnv = {
    ...{ CAIRN_DATABASE_URL: harness.databaseUrl, CAIRN_STORAGE_URL: storage, CAIRN_INTERNAL_URL: `http://127.0.0.1:${internalPort}` },
    ...secrets,
  };
  return { harness, store, client, url, token, api: server, controllerEnv, playRun, makeFolder, closer, recipe: smallRecipe };
}
