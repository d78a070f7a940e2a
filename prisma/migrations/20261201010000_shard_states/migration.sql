-- No shard was ever split or rejected.
ALTER TABLE "shard" DROP CONSTRAINT "shard_state_check";
ALTER TABLE "shard" ADD CONSTRAINT "shard_state_check" CHECK (state IN ('pending', 'leased', 'committed'));
