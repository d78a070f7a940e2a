-- A slow shard may have a second holder near the end of a fleet, and what a holder had finished is found by the next one.
ALTER TABLE "shard" ADD COLUMN "backup_attempt_id" TEXT,
  ADD COLUMN "last_attempt_id" TEXT,
  ADD COLUMN "leased_at" TIMESTAMPTZ(3);

-- {artifactId, keepsRejected, generation}: the feature set that an extraction goes on from.
ALTER TABLE "step" ADD COLUMN "earlier" JSONB;
