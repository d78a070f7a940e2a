-- A fleet's artifact is made by an attempt of its own.
ALTER TABLE "attempt" ADD COLUMN "purpose" TEXT NOT NULL DEFAULT 'work';
ALTER TABLE "attempt" ADD CONSTRAINT "attempt_purpose_check" CHECK (purpose IN ('work', 'finalize'));
ALTER TABLE "step" ADD COLUMN "finalizing" BOOLEAN NOT NULL DEFAULT false;
-- A shard is proved when it is committed.
ALTER TABLE "shard" ADD COLUMN "ids_sha256" TEXT;
-- The files of a large artifact are in its manifest alone.
ALTER TABLE "artifact" ADD COLUMN "file_count" INTEGER NOT NULL DEFAULT 0;
UPDATE "artifact" SET file_count = jsonb_array_length(files);
-- An entry is the row and its generation. The release before still writes more.
ALTER TABLE "outbox" ALTER COLUMN "data" SET DEFAULT '{}';
