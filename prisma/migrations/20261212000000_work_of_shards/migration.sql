-- What a shard was computed with, and the bytes of the images that were read for it.
ALTER TABLE "shard" ADD COLUMN "work" JSONB;
