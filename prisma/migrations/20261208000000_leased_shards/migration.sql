-- Every report renews the leases of its attempt, and a claim looks for them first.
create index "shard_leased" on "shard" ("attempt_id") where state = 'leased';
