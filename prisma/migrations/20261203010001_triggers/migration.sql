-- Triggers, and what was delivered to them.
CREATE TABLE "trigger" (
    "id" TEXT NOT NULL,
    "project_id" TEXT NOT NULL,
    "owner" TEXT NOT NULL,
    "name" TEXT NOT NULL,
    "provider" TEXT NOT NULL,
    "run" JSONB NOT NULL,
    "filter" JSONB NOT NULL,
    "group_template" TEXT,
    "on_newer" TEXT NOT NULL,
    "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,

    CONSTRAINT "trigger_pkey" PRIMARY KEY ("id"),
    CONSTRAINT "trigger_provider_check" CHECK (provider IN ('github', 'gitlab', 'standard'))
);
CREATE UNIQUE INDEX "trigger_name_key" ON "trigger"("name");
CREATE INDEX "trigger_project_id_name_idx" ON "trigger"("project_id", "name");

CREATE TABLE "hook_delivery" (
    "id" TEXT NOT NULL,
    "trigger_id" TEXT NOT NULL,
    "key" TEXT NOT NULL,
    "replay_key" TEXT,
    "digest" TEXT NOT NULL,
    "event" TEXT NOT NULL,
    "subject" TEXT NOT NULL,
    "source" JSONB,
    "outcome" TEXT NOT NULL,
    "reason" TEXT NOT NULL,
    "request" JSONB,
    "run_id" TEXT,
    "address" TEXT NOT NULL,
    "received_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "repeats" INTEGER NOT NULL DEFAULT 0,
    "released_by" TEXT,
    "tries" INTEGER NOT NULL DEFAULT 0,
    "not_before" TIMESTAMPTZ(3),

    CONSTRAINT "hook_delivery_pkey" PRIMARY KEY ("id"),
    CONSTRAINT "hook_delivery_outcome_check" CHECK (outcome IN ('accepted', 'started', 'ignored', 'held', 'failed', 'refused')),
    CONSTRAINT "hook_delivery_run_check" CHECK ((outcome = 'started') = (run_id IS NOT NULL)),
    CONSTRAINT "hook_delivery_trigger_id_fkey" FOREIGN KEY ("trigger_id") REFERENCES "trigger"("id") ON DELETE CASCADE ON UPDATE CASCADE
);
CREATE UNIQUE INDEX "hook_delivery_trigger_id_key_key" ON "hook_delivery"("trigger_id", "key");
CREATE UNIQUE INDEX "hook_delivery_trigger_id_replay_key_key" ON "hook_delivery"("trigger_id", "replay_key");
CREATE INDEX "hook_delivery_trigger_id_id_idx" ON "hook_delivery"("trigger_id", "id");
CREATE INDEX "hook_delivery_received_at_idx" ON "hook_delivery"("received_at");
-- Those that the leader starts, and those that wait for a person.
CREATE INDEX "hook_delivery_accepted_idx" ON "hook_delivery"("not_before") WHERE outcome = 'accepted';
CREATE INDEX "hook_delivery_held_idx" ON "hook_delivery"("trigger_id") WHERE outcome = 'held';
