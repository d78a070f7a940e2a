-- What the leader sees of a cluster, for whoever explains without a connection to it.
ALTER TABLE "pool" ADD COLUMN "attempt_slots" INTEGER, ADD COLUMN "room" JSONB;
ALTER TABLE "attempt" ADD COLUMN "finding" JSONB, ADD COLUMN "avoid_node" TEXT;
