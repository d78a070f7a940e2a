-- What tells a delivery that arrives late, or is released late, from a newer one.
ALTER TABLE "hook_delivery" ADD COLUMN "history" TEXT, ADD COLUMN "happened_at" TIMESTAMPTZ(3), ADD COLUMN "commit_before" TEXT;
CREATE INDEX "hook_delivery_trigger_id_history_id_idx" ON "hook_delivery"("trigger_id", "history", "id");
