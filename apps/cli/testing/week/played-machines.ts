import { randomUUID } from 'node:crypto';
import { isCairnError, isEndedRun, liveAttemptStates, runState, type StepKind, stepVersions } from '@cairn/contract';
import { createAttempts, type Leadership } from '@cairn/engine';
import { type Harness, playedDetails } from '@cairn/engine/testing';
import { scoredEvaluation } from '@cairn/judging/testing';
import { sha256 } from '@cairn/runtime';
import type { ObjectStore } from '@cairn/storage';
import { waitFor } from '@cairn/testing';

/** What a run's evaluation says: the average precision of each query. */
export type Played = { scores: readonly number[] };

type Attempt = Awaited<ReturnType<typeof attemptsOf>>[number];
const attemptsOf = (prisma: Harness['prisma'], runId: string) =>
  prisma.attempt.findMany({ where: { runId, state: { in: liveAttemptStates } }, include: { step: { include: { artifact: true } } } });

/** Longer than a killed controller takes to be replaced. */
const runLimitMs = 900_000;

/**
 * The machines of a service with real controllers: they play each attempt and store its files, so that nothing is trained. The controller sees
 * no machine of the pool `gpus`, and lets nothing start there; these start it with the leader's own proof. Tasks are started by the leader.
 */
export function playedMachines({ ctx, engine, prisma, commitAll, stagedDigest, file }: Harness, store: ObjectStore) {
  async function leadership(): Promise<Leadership> {
    const { holder, epoch } = await prisma.leadership.findUniqueOrThrow({ where: { id: 1 } });
    return { holder, epoch };
  }

  async function startWaiting(runId: string): Promise<void> {
    const waiting = await prisma.step.findMany({ where: { runId, state: 'ready', pool: 'gpu', artifact: { state: 'building', runId } } });
    for (const { id } of waiting) await createAttempts(ctx, await leadership(), runId, id, 'gpus', 1);
  }

  const start = ({ id, generation, instance }: Attempt) =>
    engine.startAttempt(id, generation, {
      ...{ host: 'a machine', pid: 1, instance: instance ?? randomUUID(), version: 'test', stepVersions },
    });

  /** What a step makes follows from what it reads, so that equal work has an equal result. */
  async function finish({ id, generation, purpose, step }: Attempt, { scores }: Played): Promise<void> {
    const content = JSON.stringify(step.artifact?.memoParts);
    const kind = step.kind as StepKind;
    if (purpose === 'finalize') {
      const details = { digest: await stagedDigest(id) };
      return engine.finishAttempt(id, generation, { outcome: 'succeeded', files: [], details });
    }
    if (kind === 'extract') {
      await commitAll(id, 0, content, kind);
      return engine.finishAttempt(id, generation, { outcome: 'succeeded', files: [], details: {} });
    }
    if (kind === 'evaluate') {
      const { bytes, details } = await scoredEvaluation({ scores });
      const key = `staging/${id}/per_query.parquet`;
      await store.put(key, bytes);
      const files = [{ name: 'per_query.parquet', key, bytes: bytes.length, sha256: sha256(bytes) }];
      return engine.finishAttempt(id, generation, { outcome: 'succeeded', files, details });
    }
    const made = file(`${step.name}.bin`, id, content);
    await store.put(made.key, Buffer.from(content));
    const details = kind === 'prepare' ? listsOf(content) : playedDetails[kind];
    await engine.finishAttempt(id, generation, { outcome: 'succeeded', files: [made], details });
  }

  /** One round: what waits starts, what runs ends, what is asked to stop stops. Steps in `held` are started and go on running. */
  async function round(runId: string, played: Played, held: readonly string[] = []): Promise<void> {
    await startWaiting(runId);
    for (const attempt of await attemptsOf(prisma, runId)) {
      try {
        if (attempt.state === 'stopping')
          await engine.finishAttempt(attempt.id, attempt.generation, { outcome: 'cancelled', message: 'stopped' });
        else {
          if (attempt.instance === null) await start(attempt);
          if (!held.includes(attempt.step.name)) await finish(attempt, played);
        }
      } catch (error) {
        // It was asked to stop, or revoked, in the meantime: the next round sees it as it is.
        if (!isCairnError(error, 'superseded')) throw error;
      }
    }
  }

  /** Plays a run until it has ended and its gate, if it has one, is decided. */
  async function playRun(runId: string, played: Played): Promise<void> {
    const isOver = async () => {
      await round(runId, played);
      const { state, gateState } = await prisma.run.findUniqueOrThrow({ where: { id: runId } });
      return (
        isEndedRun(runState.parse(state)) &&
        (state !== 'succeeded' || gateState === null || gateState === 'judged' || gateState === 'refused')
      );
    };
    await waitFor(isOver, { timeoutMs: runLimitMs, intervalMs: 50, message: `the end of ${runId}` });
  }

  /** Plays a run until this step runs, and leaves it running. Returns its attempt. */
  async function playUntil(runId: string, step: string, played: Played): Promise<{ id: string; generation: number }> {
    return waitFor(
      async () => {
        await round(runId, played, [step]);
        return prisma.attempt.findFirst({
          where: { runId, step: { name: step }, state: 'running' },
          select: { id: true, generation: true },
        });
      },
      { timeoutMs: runLimitMs, intervalMs: 50, message: `${step} of ${runId} to run` },
    );
  }

  return { playRun, playUntil };
}

/** Other images are other lists to train on; the gallery and the queries stay. */
function listsOf(content: string): Record<string, unknown> {
  const { lists, ...others } = playedDetails.prepare;
  const clean = { rows: 10, distinct: 10, classes: 2, sha256: sha256(`clean ${content}`) };
  return { ...others, lists: { ...(lists as Record<string, unknown>), clean } };
}
