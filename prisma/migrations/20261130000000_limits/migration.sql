-- Which token did it: a name may be given again. Null for what was written before.
ALTER TABLE "audit_entry" ADD COLUMN "token_id" TEXT;
-- Bytes of its log that are kept.
ALTER TABLE "attempt" ADD COLUMN "log_bytes" BIGINT NOT NULL DEFAULT 0;
UPDATE "attempt" a SET log_bytes = (SELECT coalesce(sum(length(bytes)), 0) FROM "log_chunk" l WHERE l.attempt_id = a.id);
