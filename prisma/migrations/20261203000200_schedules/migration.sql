-- What the leader does at a time. A row is removed, or moved to its next time, in the transaction that records what was done.
CREATE TABLE "timer" (
    "name" TEXT NOT NULL,
    "kind" TEXT NOT NULL,
    "ref" TEXT NOT NULL,
    "due_at" TIMESTAMPTZ(3) NOT NULL,
    "not_before" TIMESTAMPTZ(3) NOT NULL,
    "tries" INTEGER NOT NULL DEFAULT 0,

    CONSTRAINT "timer_pkey" PRIMARY KEY ("name"),
    CONSTRAINT "timer_kind_check" CHECK (kind IN ('schedule', 'dataset'))
);
CREATE INDEX "timer_not_before_idx" ON "timer" ("not_before");
CREATE INDEX "timer_ref_idx" ON "timer" ("ref");

CREATE TABLE "schedule" (
    "id" TEXT NOT NULL,
    "project_id" TEXT NOT NULL,
    "owner" TEXT NOT NULL,
    "name" TEXT NOT NULL,
    "cron" TEXT,
    "zone" TEXT NOT NULL,
    "on_dataset" TEXT,
    "overlap" TEXT NOT NULL,
    "run" JSONB NOT NULL,
    "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "paused_at" TIMESTAMPTZ(3),
    "last" JSONB,

    CONSTRAINT "schedule_pkey" PRIMARY KEY ("id"),
    CONSTRAINT "schedule_when_check" CHECK ((cron IS NULL) <> (on_dataset IS NULL)),
    CONSTRAINT "schedule_overlap_check" CHECK (overlap IN ('skip', 'queue', 'cancel'))
);
CREATE UNIQUE INDEX "schedule_project_id_name_key" ON "schedule" ("project_id", "name");
CREATE INDEX "schedule_project_id_on_dataset_idx" ON "schedule" ("project_id", "on_dataset");
