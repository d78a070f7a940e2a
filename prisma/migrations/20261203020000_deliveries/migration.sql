-- What is sent to other services: signed webhooks, and reports to code hosts.
CREATE TABLE "webhook" (
    "id" TEXT NOT NULL,
    "project_id" TEXT NOT NULL,
    "name" TEXT NOT NULL,
    "url" TEXT NOT NULL,
    "events" TEXT[],
    "paused_until" TIMESTAMPTZ(3),
    "created_by" TEXT NOT NULL,
    "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,

    CONSTRAINT "webhook_pkey" PRIMARY KEY ("id")
);
CREATE UNIQUE INDEX "webhook_project_id_name_key" ON "webhook"("project_id", "name");

CREATE TABLE "code_host" (
    "id" TEXT NOT NULL,
    "project_id" TEXT NOT NULL,
    "name" TEXT NOT NULL,
    "provider" TEXT NOT NULL,
    "url" TEXT NOT NULL,
    "repositories" TEXT[],
    "paused_until" TIMESTAMPTZ(3),
    "created_by" TEXT NOT NULL,
    "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,

    CONSTRAINT "code_host_pkey" PRIMARY KEY ("id"),
    CONSTRAINT "code_host_provider_check" CHECK (provider IN ('github', 'gitlab'))
);
CREATE UNIQUE INDEX "code_host_project_id_name_key" ON "code_host"("project_id", "name");

CREATE TABLE "delivery" (
    "id" BIGSERIAL NOT NULL,
    "project_id" TEXT NOT NULL,
    "kind" TEXT NOT NULL,
    "target" TEXT NOT NULL,
    "order_key" TEXT NOT NULL,
    "message_id" UUID NOT NULL DEFAULT gen_random_uuid(),
    "event" TEXT NOT NULL,
    "subject" TEXT NOT NULL,
    "body" JSONB NOT NULL,
    "state" TEXT NOT NULL DEFAULT 'pending',
    "not_before" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "give_up_at" TIMESTAMPTZ(3) NOT NULL,
    "version" INTEGER NOT NULL DEFAULT 1,
    "attempts" INTEGER NOT NULL DEFAULT 0,
    "failures" INTEGER NOT NULL DEFAULT 0,
    "answer" JSONB,
    "remote" JSONB,
    "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "ended_at" TIMESTAMPTZ(3),

    CONSTRAINT "delivery_pkey" PRIMARY KEY ("id"),
    CONSTRAINT "delivery_kind_check" CHECK (kind IN ('webhook', 'report')),
    CONSTRAINT "delivery_state_check" CHECK (state IN ('pending', 'delivered', 'failed'))
);
CREATE INDEX "delivery_target_id_idx" ON "delivery"("target", "id" DESC);
CREATE INDEX "delivery_ended_at_idx" ON "delivery"("ended_at");
CREATE INDEX "delivery_due_idx" ON "delivery"("not_before") WHERE state = 'pending';
CREATE INDEX "delivery_order_idx" ON "delivery"("order_key", "id") WHERE state = 'pending';
-- One report of each kind for a commit or a pull request: a newer state replaces an older one that was not sent yet.
CREATE UNIQUE INDEX "delivery_report_key" ON "delivery"("order_key") WHERE kind = 'report';

-- Tells this installation's comments from those of others on the same pull request.
ALTER TABLE "project" ADD COLUMN "uid" UUID NOT NULL DEFAULT gen_random_uuid();
