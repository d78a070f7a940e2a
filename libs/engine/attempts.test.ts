import { randomUUID } from 'node:crypto';
import { type FinishRequest, oldestProtocol, protocol, type ReportItem, type StoredFile, stepVersions } from '@cairn/contract';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { attemptGone, createAttempts, recordFindings } from './index.ts';
import { ada, type Harness, openEngineHarness } from './testing/engine-harness.ts';

let harness: Harness;
beforeAll(async () => {
  harness = await openEngineHarness();
  await harness.playAll(await harness.submit());
});
afterAll(() => harness.close());

let variant = 100;
/** A run that has reached the training step `first`, different from every other run. */
async function freshRun(): Promise<string> {
  variant += 1;
  return harness.submit({ set: { 'stages.first.epochs': variant } });
}
/** A run that has reached its extractions. */
async function atExtraction(): Promise<string> {
  const runId = await freshRun();
  for (const name of ['first', 'second', 'export']) await harness.play(runId, name, String(variant));
  return runId;
}
const now = () => new Date().toISOString();
const gone = { cause: 'infrastructure', code: 'program_failed', message: 'killed' } as const;
const attemptRow = (id: string) => harness.prisma.attempt.findUniqueOrThrow({ where: { id } });

describe('an attempt', () => {
  it('receives its settings, its inputs with their digests, and where it may write', async () => {
    const runId = await atExtraction();
    const [attempt = ''] = await harness.startAttempts(runId, 'extract_index');
    const spec = await harness.engine.attemptSpec(attempt, 1, protocol);
    expect(spec).toMatchObject({ kind: 'extract', settings: { list: 'index' }, stagingPrefix: `staging/${attempt}/`, resume: [] });
    expect(Object.keys(spec.inputs).sort()).toEqual(['lists', 'model']);
    expect(spec.inputs.model?.digest).toBe((await harness.step(runId, 'export')).artifact?.digest);
  });

  it('receives its spec in the protocol of its agent, and an error when that is too old', async () => {
    const [attempt = ''] = await harness.startAttempts(await freshRun(), 'first');
    expect(await harness.engine.attemptSpec(attempt, 1, oldestProtocol)).toMatchObject({ protocol: oldestProtocol });
    await expect(harness.engine.attemptSpec(attempt, 1, oldestProtocol - 1)).rejects.toMatchObject({
      code: 'protocol_mismatch',
      message: expect.stringContaining(`The agent uses protocol ${oldestProtocol - 1}, the control plane supports `),
    });
  });

  it('is run by one process: a second one is rejected, the same one may start it twice', async () => {
    const [attempt = ''] = await harness.startAttempts(await freshRun(), 'first');
    const { instance } = await attemptRow(attempt);
    await harness.engine.startAttempt(attempt, 1, { host: 'here', pid: 1, instance: instance ?? '', version: 'test', stepVersions });
    await expect(
      harness.engine.startAttempt(attempt, 1, { host: 'there', pid: 2, instance: randomUUID(), version: 'test', stepVersions }),
    ).rejects.toMatchObject({ code: 'superseded' });
  });

  it.each([
    ['a release without versions', {}, 'does not report its version of the step train; this run needs version'],
    ['another version', { ...stepVersions, train: 99 }, 'has version 99 of the step train; this run needs version'],
  ])('fails when its worker has another step version: %s', async (_, theirs, why) => {
    const runId = await freshRun();
    const { id, pool } = await harness.step(runId, 'first');
    await createAttempts(harness.ctx, harness.lead, runId, id, pool, 1);
    const attempt = await harness.prisma.attempt.findFirstOrThrow({ where: { stepId: id } });
    const start = { host: 'old', pid: 1, instance: randomUUID(), version: '0.0.1', stepVersions: theirs };
    await expect(harness.engine.startAttempt(attempt.id, 1, start)).rejects.toMatchObject({ code: 'step_version_mismatch' });
    const failure = { cause: 'infrastructure', code: 'step_version_mismatch', message: expect.stringContaining(why) };
    expect(await attemptRow(attempt.id)).toMatchObject({ state: 'failed', failure });
    // Another attempt may get a worker of this release.
    expect(await harness.step(runId, 'first')).toMatchObject({ state: 'ready', failures: { infrastructure: 1 } });
  });

  it('cannot have succeeded before it was launched', async () => {
    const runId = await freshRun();
    const { id, pool } = await harness.step(runId, 'first');
    await createAttempts(harness.ctx, harness.lead, runId, id, pool, 1);
    const attempt = await harness.prisma.attempt.findFirstOrThrow({ where: { stepId: id } });
    const files: StoredFile[] = [{ name: 'a', key: `staging/${attempt.id}/a`, bytes: 1, sha256: 'a'.repeat(64) }];
    await expect(harness.engine.finishAttempt(attempt.id, 1, { outcome: 'succeeded', files, details: {} })).rejects.toMatchObject({
      code: 'wrong_state',
      message: `attempt ${attempt.id} is created and cannot become succeeded`,
    });
    expect(await attemptRow(attempt.id)).toMatchObject({ state: 'created', result: null });
  });

  it('has each report applied once, however often it is sent', async () => {
    const runId = await freshRun();
    const [attempt = ''] = await harness.startAttempts(runId, 'first');
    const items: ReportItem[] = [
      { type: 'log', stream: 'stdout', offset: 0, text: 'hello' },
      { type: 'metrics', name: 'loss', steps: [1, 2], values: [3, 2], times: [1, 2] },
      { type: 'evaluation', when: 'end', step: 2, mapAt100: 0.25 },
      { type: 'checkpoint', key: `staging/${attempt}/a.pt`, bytes: 4, sha256: 'a'.repeat(64), step: 2, epoch: 1, final: false },
    ];
    for (let time = 0; time < 2; time += 1) await harness.engine.report(attempt, 1, { seq: 1, at: now(), items });
    expect(await harness.prisma.logChunk.count({ where: { attemptId: attempt } })).toBe(1);
    expect(await harness.prisma.metricChunk.findMany({ where: { attemptId: attempt } })).toMatchObject([{ steps: [1, 2], values: [3, 2] }]);
    expect((await harness.step(runId, 'first')).scores).toEqual({ 'mapAt100.end': 0.25 });
    expect(await harness.prisma.event.count({ where: { runId, type: 'evaluation' } })).toBe(1);
  });

  it('resumes from the checkpoints of the previous one, newest first', async () => {
    const runId = await freshRun();
    const [first = ''] = await harness.startAttempts(runId, 'first');
    const checkpoint = (step: number) =>
      ({
        type: 'checkpoint',
        key: `staging/${first}/${step}.pt`,
        bytes: 4,
        sha256: 'a'.repeat(64),
        step,
        epoch: step / 10,
        final: false,
      }) as const;
    await harness.engine.report(first, 1, { seq: 1, at: now(), items: [checkpoint(10), checkpoint(20)] });
    await attemptGone(harness.ctx, harness.lead, { id: first, runId, generation: 1 }, gone);
    expect((await harness.step(runId, 'first')).state).toBe('ready');
    const [second = ''] = await harness.startAttempts(runId, 'first');
    expect((await harness.engine.attemptSpec(second, 1, protocol)).resume.map((point) => point.step)).toEqual([20, 10]);
  });

  it('is superseded once it is gone: its late report changes nothing', async () => {
    const runId = await freshRun();
    const [attempt = ''] = await harness.startAttempts(runId, 'first');
    await attemptGone(harness.ctx, harness.lead, { id: attempt, runId, generation: 1 }, gone);
    const finish: FinishRequest = { outcome: 'succeeded', files: [], details: {} };
    await expect(harness.engine.finishAttempt(attempt, 1, finish)).rejects.toMatchObject({ code: 'superseded' });
    await expect(harness.engine.report(attempt, 1, { seq: 1, at: now(), items: [] })).rejects.toMatchObject({ code: 'superseded' });
    await expect(harness.engine.attemptSpec(attempt, 1, protocol)).rejects.toMatchObject({ code: 'superseded' });
    expect(await attemptRow(attempt)).toMatchObject({ state: 'lost', generation: 2 });
  });

  it.each([
    ['nothing', {}],
    ['a missing list', { lists: { index: { rows: 9, distinct: 9, classes: null }, query: { rows: 2, distinct: 2, classes: null } } }],
    ['more images than fit the column', { lists: { clean: { rows: 1, distinct: 2 ** 40, classes: 1 } } }],
    ['a negative count', { lists: { clean: { rows: 1, distinct: -5, classes: 1 } } }],
  ])('cannot succeed with lists that later steps cannot use: %s', async (_, details) => {
    const runId = await harness.submit({ noReuse: true });
    const [attempt = ''] = await harness.startAttempts(runId, 'prepare');
    const files = [harness.file('lists/clean.parquet', attempt)];
    await expect(harness.engine.finishAttempt(attempt, 1, { outcome: 'succeeded', files, details })).rejects.toMatchObject({
      code: 'invalid_request',
      message: expect.stringContaining('lists'),
    });
    expect((await attemptRow(attempt)).state).toBe('running');
  });

  it('cannot succeed with a model that no extraction can use', async () => {
    const runId = await freshRun();
    for (const name of ['first', 'second']) await harness.play(runId, name, String(variant));
    const [attempt = ''] = await harness.startAttempts(runId, 'export');
    const files = [harness.file('model.onnx', attempt)];
    await expect(
      harness.engine.finishAttempt(attempt, 1, { outcome: 'succeeded', files, details: { preprocessing: 'cairn' } }),
    ).rejects.toMatchObject({
      code: 'invalid_request',
      message: expect.stringMatching(/the details of its result \(model\) are invalid: .*imageSize/s),
    });
    expect((await attemptRow(attempt)).state).toBe('running');
  });

  it('cannot succeed with files that make no artifact, and may still report how it ended', async () => {
    const runId = await freshRun();
    const [attempt = ''] = await harness.startAttempts(runId, 'first');
    const [other = ''] = await harness.startAttempts(await freshRun(), 'first');
    const own = harness.file('a.bin', attempt);
    const refused: [string, StoredFile[]][] = [
      ['no files', []],
      ['two files named a.bin', [own, own]],
      ['not below', [harness.file('a.bin', other)]],
      ['not below', [{ ...own, key: `models/mdl_1/a.bin` }]],
      ['not below', [{ ...own, key: `staging/${attempt}` }]],
    ];
    for (const [message, files] of refused)
      await expect(harness.engine.finishAttempt(attempt, 1, { outcome: 'succeeded', files, details: {} })).rejects.toMatchObject({
        code: 'invalid_request',
        message: expect.stringContaining(message),
      });
    const stolen = {
      type: 'checkpoint',
      key: harness.file('c.pt', other).key,
      bytes: 1,
      sha256: own.sha256,
      step: 1,
      epoch: 1,
      final: true,
    } as const;
    await expect(harness.engine.report(attempt, 1, { seq: 1, at: now(), items: [stolen] })).rejects.toMatchObject({
      code: 'invalid_request',
    });
    expect((await attemptRow(attempt)).state).toBe('running');
    await harness.engine.finishAttempt(attempt, 1, { outcome: 'failed', cause: 'user', code: 'internal', message: 'refused' });
    expect((await attemptRow(attempt)).state).toBe('failed');
  });

  it('that the executor saw end has its last output cleaned', async () => {
    const runId = await freshRun();
    const [attempt = ''] = await harness.startAttempts(runId, 'first');
    const finding = { code: 'unschedulable', message: 'node \0 \ud83d', since: now() };
    await recordFindings(harness.ctx, harness.lead, [{ attempt: { id: attempt, runId }, finding }]);
    expect((await attemptRow(attempt)).finding).toEqual({ ...finding, message: 'node \u2400 \ufffd' });
    await attemptGone(harness.ctx, harness.lead, { id: attempt, runId, generation: 1 }, { ...gone, message: 'killed:\n\0\ud83d' });
    expect((await attemptRow(attempt)).failure).toMatchObject({ message: 'killed:\n\u2400\ufffd' });
  });

  it('may report its end twice, and later observations of the executor change nothing', async () => {
    const runId = await freshRun();
    const [attempt = ''] = await harness.startAttempts(runId, 'first');
    const finish: FinishRequest = { outcome: 'succeeded', files: [harness.file('checkpoint.pt', attempt)], details: {} };
    await harness.engine.finishAttempt(attempt, 1, finish);
    await harness.engine.finishAttempt(attempt, 1, finish);
    await attemptGone(harness.ctx, harness.lead, { id: attempt, runId, generation: 1 }, gone);
    expect((await attemptRow(attempt)).state).toBe('succeeded');
    await harness.finalize(runId, 'first');
    expect((await harness.step(runId, 'first')).state).toBe('succeeded');
  });

  it('is retried until the retry budget of its cause is spent', async () => {
    const runId = await freshRun();
    for (let time = 1; time <= 6; time += 1) {
      const [attempt = ''] = await harness.startAttempts(runId, 'first');
      await attemptGone(harness.ctx, harness.lead, { id: attempt, runId, generation: 1 }, gone);
    }
    expect(await harness.step(runId, 'first')).toMatchObject({
      state: 'failed',
      failures: { infrastructure: 6 },
      failure: { message: 'killed' },
    });
    expect((await harness.run(runId)).state).toBe('failed');
  });

  it('is not charged for a preemption', async () => {
    const runId = await freshRun();
    for (let time = 1; time <= 8; time += 1) {
      const [attempt = ''] = await harness.startAttempts(runId, 'first');
      await harness.engine.finishAttempt(attempt, 1, { outcome: 'preempted', message: 'asked to stop' });
    }
    expect((await harness.step(runId, 'first')).state).toBe('ready');
  });
});

describe('garbage', () => {
  it('is what nothing refers to; a dry run only lists it', async () => {
    const runId = await freshRun();
    await harness.engine.cancelRun(runId, ada, '');
    const dry = await harness.engine.collectGarbage({ dryRun: true, olderThanHours: 0 }, ada);
    expect(dry.artifacts.length).toBeGreaterThan(0);
    expect(harness.removed).toEqual([]);
    const wet = await harness.engine.collectGarbage({ dryRun: false, olderThanHours: 0 }, ada);
    expect(wet.artifacts.map((item) => item.id).sort()).toEqual(dry.artifacts.map((item) => item.id).sort());
    expect(harness.removed.length).toBe(wet.artifacts.length + wet.stagingPrefixes.length + wet.logPrefixes.length);
    expect(await harness.prisma.artifact.count({ where: { state: 'deleting' } })).toBe(0);
  });

  it('includes the curves of attempts whose result was abandoned, but not those of an existing result', async () => {
    const runId = await freshRun();
    const [kept = ''] = await harness.startAttempts(runId, 'first');
    await harness.engine.finishAttempt(kept, 1, { outcome: 'succeeded', files: [harness.file('first.bin', kept)], details: { step: 3 } });
    await harness.finalize(runId, 'first');
    const [cancelled = ''] = await harness.startAttempts(runId, 'second');
    await harness.engine.cancelRun(runId, ada, '');
    await harness.engine.finishAttempt(cancelled, 1, { outcome: 'cancelled', message: 'stopped' });
    const dry = await harness.engine.collectGarbage({ dryRun: true, olderThanHours: 0 }, ada);
    const { logPrefixes, stagingPrefixes } = await harness.engine.collectGarbage({ dryRun: false, olderThanHours: 0 }, ada);
    expect(logPrefixes).toEqual(dry.logPrefixes);
    expect(stagingPrefixes).toEqual(expect.arrayContaining([`staging/${kept}/`, `staging/${cancelled}/`]));
    expect(logPrefixes).toContain(`logs/${cancelled}/`);
    expect(logPrefixes).not.toContain(`logs/${kept}/`);
    expect(harness.removed).toContain(`logs/${cancelled}/`);
  });
});
