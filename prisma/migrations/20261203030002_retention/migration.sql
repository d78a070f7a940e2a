-- How long results are kept.
CREATE TABLE "retention" (
    "project_id" TEXT NOT NULL,
    "policy" JSONB NOT NULL,
    "set_by" TEXT NOT NULL,
    "updated_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "collected_at" TIMESTAMPTZ(3),

    CONSTRAINT "retention_pkey" PRIMARY KEY ("project_id")
);

ALTER TABLE "run" ADD COLUMN "pinned_at" TIMESTAMPTZ(3);
ALTER TABLE "run" ADD COLUMN "pinned_by" TEXT;
ALTER TABLE "run" ADD COLUMN "retired_at" TIMESTAMPTZ(3);
ALTER TABLE "step" ADD COLUMN "removed" JSONB;
ALTER TABLE "model" ADD COLUMN "removed_at" TIMESTAMPTZ(3);

-- Runs whose results may be old enough to go.
CREATE INDEX "run_kept" ON "run" ("project_id", "finished_at") WHERE retired_at IS NULL AND finished_at IS NOT NULL;
CREATE INDEX "model_run_id_idx" ON "model" ("run_id");
CREATE INDEX "artifact_run_id_idx" ON "artifact" ("run_id");
