-- Of the runs of a concurrency group one runs at a time, and of those that wait only the newest does.
-- Its place in the group: larger for a run that entered later.
ALTER TABLE "run" ADD COLUMN "group_place" BIGINT;
-- What a held run waits for.
ALTER TABLE "run" ADD COLUMN "hold" TEXT;
-- Why a run was cancelled, for programs.
ALTER TABLE "run" ADD COLUMN "cancel_cause" TEXT;
ALTER TABLE "run" ADD CONSTRAINT "run_cancel_cause_check" CHECK (cancel_cause IN ('person', 'superseded'));
UPDATE "run" SET cancel_cause = 'person' WHERE state IN ('cancelling', 'cancelled');

CREATE INDEX "run_live_group" ON "run" ("project_id", "concurrency_group")
  WHERE concurrency_group IS NOT NULL AND state IN ('held', 'queued', 'running', 'cancelling');
CREATE INDEX "run_project_id_concurrency_group_id_idx" ON "run" ("project_id", "concurrency_group", "id");
