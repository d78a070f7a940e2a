-- Where a run comes from, and its place among other runs.
ALTER TABLE "run" ADD COLUMN "origin" JSONB NOT NULL DEFAULT '{"kind": "person"}';
ALTER TABLE "run" ADD COLUMN "source" JSONB;
ALTER TABLE "run" ADD COLUMN "labels" JSONB NOT NULL DEFAULT '{}';
ALTER TABLE "run" ADD COLUMN "concurrency_group" TEXT;
ALTER TABLE "run" ADD COLUMN "on_newer" TEXT NOT NULL DEFAULT 'queue';
ALTER TABLE "run" ADD CONSTRAINT "run_on_newer_check" CHECK (on_newer IN ('queue', 'cancel'));

-- Runs that have all of the given labels: labels @> '{"team": "search"}'.
CREATE INDEX "run_labels_idx" ON "run" USING GIN ("labels" jsonb_path_ops);
