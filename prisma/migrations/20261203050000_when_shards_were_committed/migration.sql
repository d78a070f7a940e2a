-- For the rate of a fleet. Null in shards that an earlier release committed.
alter table "shard" add column "committed_at" timestamptz(3);
