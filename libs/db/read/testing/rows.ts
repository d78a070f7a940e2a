import { createHash } from 'node:crypto';
import type { ArtifactKind, AttemptState, RunState, StepKind, StepState } from '@cairn/contract';
import { newId } from '@cairn/runtime';
import { createDatabase } from '@cairn/testing';
import { afterAll } from 'vitest';
import { openDatabase } from '../../client.ts';
import type { Prisma, PrismaClient } from '../../generated/client.ts';
import { migrate, readMigrations } from '../../migrate.ts';

const project = { projectId: 'default', owner: 'ada' };

/** A step as a test describes it; omitted fields get defaults. */
export type StepRow = {
  name: string;
  kind?: StepKind;
  state?: StepState;
  /** Names of the steps that it needs. */
  needs?: string[];
  /** The artifact it builds or waits for. */
  artifactId?: string | null;
} & Partial<Omit<Prisma.StepUncheckedCreateInput, 'name' | 'kind' | 'state' | 'needs' | 'artifactId'>>;

/** Inserts rows in any state that a test needs, without the commands that lead there. */
export function createRows(prisma: PrismaClient) {
  let count = 0;

  async function addDataset(values: Partial<Prisma.DatasetUncheckedCreateInput> = {}) {
    count += 1;
    const source = { kind: 'folder', root: '/data', metadata: '/data', countries: null };
    return prisma.dataset.create({
      data: {
        id: newId('dataset'),
        ...project,
        name: `set-${count}`,
        version: 1,
        source,
        digest: 'd'.repeat(64),
        digestBasis: 'listing',
        ...values,
      },
    });
  }

  async function addRun(values: Partial<Omit<Prisma.RunUncheckedCreateInput, 'state'>> & { state?: RunState; steps?: StepRow[] } = {}) {
    const { steps = [], ...run } = values;
    const id = run.id ?? newId('run');
    const row = await prisma.run.create({
      data: {
        ...project,
        name: `run-${id.slice(-4)}`,
        recipeName: 'tiny',
        recipe: {},
        datasetId: run.datasetId ?? (await addDataset()).id,
        state: 'running',
        noReuse: false,
        requestDigest: '',
        ...run,
        id,
      },
    });
    for (const [position, step] of steps.entries()) await addStep(id, { position, ...step });
    return row;
  }

  async function addStep(runId: string, { needs = [], kind = 'train', state = 'blocked', ...step }: StepRow) {
    return prisma.step.create({
      data: {
        id: newId('step'),
        runId,
        position: 0,
        settings: {},
        pool: kind === 'train' || kind === 'extract' || kind === 'export' ? 'gpu' : 'tasks',
        slots: 1,
        maxAttempts: kind === 'extract' ? 4 : 1,
        kind,
        state,
        needs: needs.map((name) => ({ role: 'start', step: name })),
        ...step,
      },
    });
  }

  async function addArtifact(values: Partial<Prisma.ArtifactUncheckedCreateInput> & { kind?: ArtifactKind } = {}) {
    const id = newId('artifact');
    return prisma.artifact.create({
      data: { id, projectId: 'default', kind: 'checkpoint', state: 'building', prefix: `checkpoints/${id}/`, stepName: '384', ...values },
    });
  }

  async function addAttempt(
    step: { id: string; runId: string },
    values: Partial<Omit<Prisma.AttemptUncheckedCreateInput, 'state'>> & { state?: AttemptState } = {},
  ) {
    const ordinal = (await prisma.attempt.count({ where: { stepId: step.id } })) + 1;
    return prisma.attempt.create({
      data: {
        id: newId('attempt'),
        runId: step.runId,
        stepId: step.id,
        ordinal,
        stepGeneration: 1,
        state: 'running',
        pool: 'local',
        slots: 1,
        ...values,
      },
    });
  }

  /** A run with one ready step that builds its own result. */
  async function addReadyStep(step: Partial<StepRow> = {}, run: Parameters<typeof addRun>[0] = {}) {
    const made = await addRun(run);
    const name = step.name ?? '384';
    const artifact = await addArtifact({ runId: made.id, stepName: name });
    const row = await addStep(made.id, { state: 'ready', readyAt: new Date(), artifactId: artifact.id, ...step, name });
    return { run: made, step: row, artifact };
  }

  async function addLeader() {
    await prisma.leadership.update({
      where: { id: 1 },
      data: { holder: 'controller-a', epoch: 3, expiresAt: new Date(Date.now() + 60_000) },
    });
  }

  async function addPools(
    pools: { name: string; slots: number }[] = [
      { name: 'local', slots: 2 },
      { name: 'tasks', slots: 2 },
    ],
  ) {
    await prisma.pool.createMany({ data: pools.map((pool, position) => ({ ...pool, position, executor: 'process' })) });
  }

  /** Removes every row, for tests that count what is in a table. */
  async function clear() {
    await prisma.$executeRaw`truncate audit_entry, session, token, dataset, weights, judgement, run, step, attempt, shard, artifact, checkpoint, model, event, outbox, pool, log_chunk, metric_chunk`;
    await prisma.leadership.update({ where: { id: 1 }, data: { holder: '', epoch: 0, expiresAt: new Date(0) } });
  }

  return { addDataset, addRun, addStep, addArtifact, addAttempt, addReadyStep, addLeader, addPools, clear };
}

/** A migrated database for one test file, dropped after it. */
export async function openTestDatabase() {
  const migrations = JSON.stringify((await readMigrations()).migrationDirectories);
  const key = `cairn_${createHash('sha256').update(migrations).digest('hex').slice(0, 16)}`;
  const database = await createDatabase({ template: { key, migrate: async (url) => void (await migrate(url)) } });
  const { prisma, close } = openDatabase({ url: database.url, connections: 4 });
  afterAll(async () => {
    await close();
    await database.drop();
  });
  return { prisma, url: database.url };
}
