import {
  artifactKind,
  attemptCause,
  CairnError,
  failureView,
  findingView,
  imageSource,
  onNewer,
  poolRoom,
  progressView,
  type RunContext,
  type RunSource,
  runLabels,
  runOrigin,
  runSource,
} from '@cairn/contract';
import { z } from 'zod';

/** JSON columns of the read models: parsed, never cast. Keys that a later release added are ignored. */
export const needsColumn = z.array(z.object({ role: z.string(), step: z.string() }));
/** Imported weights that a step reads. */
export const givenColumn = z.array(z.object({ role: z.string(), name: z.string() }));
/** Failed attempts by cause. */
export const failuresColumn = z.partialRecord(attemptCause, z.number().int());
/** What a submission gave. */
export const requestColumn = z.object({
  recipe: z.string().nullable(),
  set: z.record(z.string(), z.unknown()),
  until: z.array(z.string()).nullable(),
});
export const recordColumn = z.record(z.string(), z.unknown());
export const scoresColumn = z.record(z.string(), z.number());
export const textsColumn = z.record(z.string(), z.string());
/** A result that was given up for removal. */
export const removedColumn = z.object({ kind: artifactKind, bytes: z.number().int(), at: z.string() });
export const progressColumn = progressView;
export const failureColumn = failureView;
export const findingColumn = findingView;
export const roomColumn = poolRoom;
export const sourceColumn = imageSource;
export const noReuseColumn = z.union([z.boolean(), z.array(z.string())]);
export const resumedFromColumn = z.object({ step: z.number().int(), epoch: z.number() });
export const artifactFilesColumn = z.array(z.object({ name: z.string(), bytes: z.number().int(), sha256: z.string() }));

const runContextColumns = z.object({
  origin: runOrigin,
  source: z.object(runSource.shape).nullable(),
  labels: runLabels,
  group: z.string().nullable(),
  onNewer,
});
/** The commit that a run was started for, from the column of its row. */
export const sourceOf = (runId: string, source: unknown): RunSource | null =>
  readNullable(z.object(runSource.shape), source, `run ${runId} source`);

/** Where a run comes from, from the columns of its row. */
export const contextOf = (run: Record<keyof RunContext, unknown> & { id: string }): RunContext =>
  readColumn(runContextColumns, run, `run ${run.id}`);

/**
 * The value of a JSON (or text) column.
 *
 * @param what names the row and column, for the error: `step stp_... scores`
 * @throws CairnError `internal` when the stored value does not match the schema, because another program or release wrote it
 */
export function readColumn<T>(schema: z.ZodType<T>, value: unknown, what: string): T {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  const where = issue && issue.path.length > 0 ? ` at ${issue.path.join('.')}` : '';
  throw new CairnError('internal', `The stored value of ${what} is invalid${where}: ${issue?.message ?? 'unknown'}`, {
    cause: parsed.error,
  });
}

/** Like {@link readColumn}, for columns that may be null. */
export function readNullable<T>(schema: z.ZodType<T>, value: unknown, what: string): T | null {
  return value === null || value === undefined ? null : readColumn(schema, value, what);
}

/** Parses the rows of a raw query; an invalid row is a bug in the query. */
export function readRows<T>(schema: z.ZodType<T>, rows: unknown): T[] {
  return z.array(schema).parse(rows);
}

export const isoTime = (time: Date): string => time.toISOString();
export const isoTimeOrNull = (time: Date | null): string | null => time?.toISOString() ?? null;
