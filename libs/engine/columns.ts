import {
  artifactKind,
  artifactState,
  attemptCause,
  attemptState,
  datasetFiles,
  failureView,
  runState,
  stepKind,
  stepState,
  stopCause,
  storedFile,
} from '@cairn/contract';
import type { Prisma } from '@cairn/db';
import type { MemoParts } from '@cairn/domain';
import { z } from 'zod';

/** JSON columns as the engine reads them: parsed, never cast. */
export const needsColumn = z.array(z.object({ role: z.string(), step: z.string() }));
/**
 * The inputs of a step from outside its run; `sha256` is part of the memo key: an artifact's digest, or that of the file of imported
 * weights.
 */
export const givenColumn = z.array(z.object({ role: z.string(), name: z.string(), artifactId: z.string(), sha256: z.string() }));
export type Given = z.infer<typeof givenColumn>[number];
export const failuresColumn = z.partialRecord(attemptCause, z.number().int());
export const filesColumn = z.array(storedFile);
export const artifactFilesColumn = z.array(z.object({ name: z.string(), bytes: z.number().int(), sha256: z.string() }));
export const datasetFilesColumn = datasetFiles.nullable();
export const detailsColumn = z.record(z.string(), z.unknown());
export const scoresColumn = z.record(z.string(), z.number());
export const noReuseColumn = z.union([z.boolean(), z.array(z.string())]);
export const resultColumn = z.object({ files: filesColumn, details: z.record(z.string(), z.json()) });
export const failureColumn = failureView;
export const stopCauseColumn = stopCause.nullable();
export const states = { run: runState, step: stepState, attempt: attemptState, artifact: artifactState, kind: stepKind, artifactKind };
/** The parts of an artifact's memo key. Earlier releases stored a digest of source files, `code`, instead of the version. */
export const memoPartsColumn: z.ZodType<MemoParts> = z.object({
  kind: z.string(),
  version: z.number().int().nullable().default(null),
  settings: z.record(z.string(), z.unknown()),
  inputs: z.record(z.string(), z.string()),
  source: z.string().nullable(),
});

/** A value in the form of a JSON column: what JSON cannot express (undefined fields, Maps) is omitted. */
export const toJson = (value: unknown): Prisma.InputJsonValue => JSON.parse(JSON.stringify(value));
