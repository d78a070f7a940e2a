-- CreateTable
CREATE TABLE "project" (
    "id" TEXT NOT NULL,
    "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,

    CONSTRAINT "project_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "token" (
    "id" TEXT NOT NULL,
    "project_id" TEXT NOT NULL,
    "name" TEXT NOT NULL,
    "role" TEXT NOT NULL,
    "hash" TEXT NOT NULL,
    "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "expires_at" TIMESTAMPTZ(3),
    "revoked_at" TIMESTAMPTZ(3),
    "last_used_at" TIMESTAMPTZ(3),

    CONSTRAINT "token_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "audit_entry" (
    "id" BIGSERIAL NOT NULL,
    "project_id" TEXT NOT NULL,
    "at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "actor" TEXT NOT NULL,
    "action" TEXT NOT NULL,
    "target" TEXT NOT NULL,
    "details" JSONB NOT NULL DEFAULT '{}',

    CONSTRAINT "audit_entry_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "dataset" (
    "id" TEXT NOT NULL,
    "project_id" TEXT NOT NULL,
    "owner" TEXT NOT NULL,
    "name" TEXT NOT NULL,
    "version" INTEGER NOT NULL,
    "source" JSONB NOT NULL,
    "digest" TEXT NOT NULL,
    "digest_basis" TEXT NOT NULL,
    "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,

    CONSTRAINT "dataset_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "run" (
    "id" TEXT NOT NULL,
    "project_id" TEXT NOT NULL,
    "owner" TEXT NOT NULL,
    "name" TEXT NOT NULL,
    "recipe_name" TEXT NOT NULL,
    "recipe" JSONB NOT NULL,
    "dataset_id" TEXT NOT NULL,
    "state" TEXT NOT NULL,
    "cause" TEXT,
    "verdict" TEXT NOT NULL DEFAULT 'none',
    "priority" INTEGER NOT NULL DEFAULT 0,
    "no_reuse" JSONB NOT NULL,
    "idempotency_key" TEXT,
    "request_digest" TEXT NOT NULL,
    "seq" INTEGER NOT NULL DEFAULT 0,
    "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "started_at" TIMESTAMPTZ(3),
    "finished_at" TIMESTAMPTZ(3),

    CONSTRAINT "run_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "step" (
    "id" TEXT NOT NULL,
    "run_id" TEXT NOT NULL,
    "position" INTEGER NOT NULL,
    "name" TEXT NOT NULL,
    "kind" TEXT NOT NULL,
    "settings" JSONB NOT NULL,
    "needs" JSONB NOT NULL,
    "pool" TEXT NOT NULL,
    "slots" INTEGER NOT NULL,
    "max_attempts" INTEGER NOT NULL,
    "state" TEXT NOT NULL,
    "generation" INTEGER NOT NULL DEFAULT 1,
    "artifact_id" TEXT,
    "reused_from_run_id" TEXT,
    "failure" JSONB,
    "failures" JSONB NOT NULL DEFAULT '{}',
    "not_before" TIMESTAMPTZ(3),
    "progress" JSONB,
    "scores" JSONB NOT NULL DEFAULT '{}',
    "shards_total" INTEGER,
    "shards_committed" INTEGER NOT NULL DEFAULT 0,
    "rows" INTEGER NOT NULL DEFAULT 0,
    "rejected" INTEGER NOT NULL DEFAULT 0,
    "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "ready_at" TIMESTAMPTZ(3),
    "started_at" TIMESTAMPTZ(3),
    "finished_at" TIMESTAMPTZ(3),

    CONSTRAINT "step_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "attempt" (
    "id" TEXT NOT NULL,
    "run_id" TEXT NOT NULL,
    "step_id" TEXT NOT NULL,
    "ordinal" INTEGER NOT NULL,
    "generation" INTEGER NOT NULL DEFAULT 1,
    "step_generation" INTEGER NOT NULL,
    "state" TEXT NOT NULL,
    "pool" TEXT NOT NULL,
    "slots" INTEGER NOT NULL,
    "place" TEXT,
    "handle" JSONB,
    "instance" TEXT,
    "contact" TEXT NOT NULL DEFAULT 'none',
    "report_seq" INTEGER NOT NULL DEFAULT 0,
    "stop_reason" TEXT,
    "stop_requested_at" TIMESTAMPTZ(3),
    "failure" JSONB,
    "result" JSONB,
    "resumed_from" JSONB,
    "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "started_at" TIMESTAMPTZ(3),
    "last_contact_at" TIMESTAMPTZ(3),
    "ended_at" TIMESTAMPTZ(3),

    CONSTRAINT "attempt_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "shard" (
    "step_id" TEXT NOT NULL,
    "index" INTEGER NOT NULL,
    "from_row" INTEGER NOT NULL,
    "count" INTEGER NOT NULL,
    "state" TEXT NOT NULL DEFAULT 'pending',
    "attempt_id" TEXT,
    "lease_until" TIMESTAMPTZ(3),
    "tries" INTEGER NOT NULL DEFAULT 0,
    "rows" INTEGER,
    "rejected" INTEGER,
    "files" JSONB NOT NULL DEFAULT '[]',
    "seconds" JSONB,

    CONSTRAINT "shard_pkey" PRIMARY KEY ("step_id","index")
);

-- CreateTable
CREATE TABLE "artifact" (
    "id" TEXT NOT NULL,
    "project_id" TEXT NOT NULL,
    "kind" TEXT NOT NULL,
    "state" TEXT NOT NULL,
    "memo_key" TEXT,
    "memo_parts" JSONB NOT NULL DEFAULT '{}',
    "digest" TEXT,
    "prefix" TEXT NOT NULL,
    "bytes" BIGINT NOT NULL DEFAULT 0,
    "files" JSONB NOT NULL DEFAULT '[]',
    "details" JSONB NOT NULL DEFAULT '{}',
    "run_id" TEXT,
    "step_name" TEXT NOT NULL,
    "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "ready_at" TIMESTAMPTZ(3),

    CONSTRAINT "artifact_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "checkpoint" (
    "id" TEXT NOT NULL,
    "step_id" TEXT NOT NULL,
    "attempt_id" TEXT NOT NULL,
    "memo_key" TEXT NOT NULL,
    "key" TEXT NOT NULL,
    "bytes" BIGINT NOT NULL,
    "sha256" TEXT NOT NULL,
    "step" INTEGER NOT NULL,
    "epoch" DOUBLE PRECISION NOT NULL,
    "final" BOOLEAN NOT NULL,
    "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,

    CONSTRAINT "checkpoint_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "model" (
    "id" TEXT NOT NULL,
    "project_id" TEXT NOT NULL,
    "owner" TEXT NOT NULL,
    "name" TEXT NOT NULL,
    "version" INTEGER NOT NULL,
    "run_id" TEXT NOT NULL,
    "step_id" TEXT NOT NULL,
    "artifacts" JSONB NOT NULL,
    "metrics" JSONB NOT NULL,
    "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,

    CONSTRAINT "model_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "event" (
    "run_id" TEXT NOT NULL,
    "seq" INTEGER NOT NULL,
    "at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "type" TEXT NOT NULL,
    "message" TEXT NOT NULL,
    "data" JSONB NOT NULL DEFAULT '{}',

    CONSTRAINT "event_pkey" PRIMARY KEY ("run_id","seq")
);

-- CreateTable
CREATE TABLE "outbox" (
    "id" BIGSERIAL NOT NULL,
    "queue" TEXT NOT NULL,
    "row" TEXT NOT NULL,
    "generation" INTEGER NOT NULL,
    "data" JSONB NOT NULL,
    "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,

    CONSTRAINT "outbox_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "leadership" (
    "id" INTEGER NOT NULL,
    "holder" TEXT NOT NULL,
    "epoch" INTEGER NOT NULL,
    "expires_at" TIMESTAMPTZ(3) NOT NULL,

    CONSTRAINT "leadership_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "pool" (
    "name" TEXT NOT NULL,
    "executor" TEXT NOT NULL,
    "slots" INTEGER NOT NULL,
    "position" INTEGER NOT NULL,
    "updated_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,

    CONSTRAINT "pool_pkey" PRIMARY KEY ("name")
);

-- CreateTable
CREATE TABLE "log_chunk" (
    "attempt_id" TEXT NOT NULL,
    "stream" TEXT NOT NULL,
    "offset" BIGINT NOT NULL,
    "bytes" BYTEA NOT NULL,
    "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,

    CONSTRAINT "log_chunk_pkey" PRIMARY KEY ("attempt_id","stream","offset")
);

-- CreateTable
CREATE TABLE "metric_chunk" (
    "attempt_id" TEXT NOT NULL,
    "name" TEXT NOT NULL,
    "chunk" INTEGER NOT NULL,
    "step_id" TEXT NOT NULL,
    "steps" INTEGER[],
    "values" DOUBLE PRECISION[],
    "times" DOUBLE PRECISION[],

    CONSTRAINT "metric_chunk_pkey" PRIMARY KEY ("attempt_id","name","chunk")
);

-- CreateIndex
CREATE UNIQUE INDEX "token_hash_key" ON "token"("hash");

-- CreateIndex
CREATE UNIQUE INDEX "dataset_project_id_name_version_key" ON "dataset"("project_id", "name", "version");

-- CreateIndex
CREATE INDEX "run_created_at_id_idx" ON "run"("created_at" DESC, "id");

-- CreateIndex
CREATE UNIQUE INDEX "run_project_id_idempotency_key_key" ON "run"("project_id", "idempotency_key");

-- CreateIndex
CREATE UNIQUE INDEX "step_run_id_name_key" ON "step"("run_id", "name");

-- CreateIndex
CREATE INDEX "attempt_run_id_idx" ON "attempt"("run_id");

-- CreateIndex
CREATE UNIQUE INDEX "attempt_step_id_ordinal_key" ON "attempt"("step_id", "ordinal");

-- CreateIndex
CREATE INDEX "artifact_project_id_step_name_kind_idx" ON "artifact"("project_id", "step_name", "kind");

-- CreateIndex
CREATE UNIQUE INDEX "checkpoint_key_key" ON "checkpoint"("key");

-- CreateIndex
CREATE INDEX "checkpoint_step_id_step_idx" ON "checkpoint"("step_id", "step" DESC);

-- CreateIndex
CREATE UNIQUE INDEX "model_project_id_name_version_key" ON "model"("project_id", "name", "version");

-- CreateIndex
CREATE INDEX "metric_chunk_step_id_name_idx" ON "metric_chunk"("step_id", "name");

-- AddForeignKey
ALTER TABLE "run" ADD CONSTRAINT "run_dataset_id_fkey" FOREIGN KEY ("dataset_id") REFERENCES "dataset"("id") ON DELETE RESTRICT ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "step" ADD CONSTRAINT "step_run_id_fkey" FOREIGN KEY ("run_id") REFERENCES "run"("id") ON DELETE RESTRICT ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "step" ADD CONSTRAINT "step_artifact_id_fkey" FOREIGN KEY ("artifact_id") REFERENCES "artifact"("id") ON DELETE SET NULL ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "attempt" ADD CONSTRAINT "attempt_step_id_fkey" FOREIGN KEY ("step_id") REFERENCES "step"("id") ON DELETE RESTRICT ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "shard" ADD CONSTRAINT "shard_step_id_fkey" FOREIGN KEY ("step_id") REFERENCES "step"("id") ON DELETE RESTRICT ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "checkpoint" ADD CONSTRAINT "checkpoint_step_id_fkey" FOREIGN KEY ("step_id") REFERENCES "step"("id") ON DELETE RESTRICT ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "event" ADD CONSTRAINT "event_run_id_fkey" FOREIGN KEY ("run_id") REFERENCES "run"("id") ON DELETE RESTRICT ON UPDATE CASCADE;

-- Guards that the Prisma schema cannot say.
ALTER TABLE "run" ADD CONSTRAINT "run_state_check" CHECK (state IN ('held', 'queued', 'running', 'cancelling', 'succeeded', 'failed', 'cancelled'));
ALTER TABLE "run" ADD CONSTRAINT "run_verdict_check" CHECK (verdict IN ('none', 'passed', 'failed'));
ALTER TABLE "step" ADD CONSTRAINT "step_state_check" CHECK (state IN ('blocked', 'ready', 'active', 'succeeded', 'reused', 'failed', 'cancelled'));
ALTER TABLE "attempt" ADD CONSTRAINT "attempt_state_check" CHECK (state IN ('created', 'launching', 'running', 'stopping', 'succeeded', 'failed', 'preempted', 'cancelled', 'lost'));
ALTER TABLE "shard" ADD CONSTRAINT "shard_state_check" CHECK (state IN ('pending', 'leased', 'committed', 'split', 'rejected'));
ALTER TABLE "artifact" ADD CONSTRAINT "artifact_state_check" CHECK (state IN ('building', 'ready', 'deleting'));
ALTER TABLE "token" ADD CONSTRAINT "token_role_check" CHECK (role IN ('viewer', 'submitter', 'admin'));
ALTER TABLE "leadership" ADD CONSTRAINT "leadership_one_row" CHECK (id = 1);

-- One builds, others with the same key wait for it.
CREATE UNIQUE INDEX "artifact_memo_key" ON "artifact" ("project_id", "memo_key") WHERE state IN ('building', 'ready');
-- A name belongs to one token that is not revoked.
CREATE UNIQUE INDEX "token_name" ON "token" ("project_id", "name") WHERE revoked_at IS NULL;
-- What the leader looks at on every change: small, whatever the table's size.
CREATE INDEX "step_waiting" ON "step" ("ready_at") WHERE state IN ('ready', 'active');
CREATE INDEX "attempt_live" ON "attempt" ("step_id") WHERE state IN ('created', 'launching', 'running', 'stopping');
CREATE INDEX "run_live" ON "run" ("id") WHERE state IN ('held', 'queued', 'running', 'cancelling');
CREATE INDEX "shard_open" ON "shard" ("step_id", "index") WHERE state IN ('pending', 'leased');

INSERT INTO "project" ("id") VALUES ('default');
INSERT INTO "leadership" ("id", "holder", "epoch", "expires_at") VALUES (1, '', 0, to_timestamp(0));
