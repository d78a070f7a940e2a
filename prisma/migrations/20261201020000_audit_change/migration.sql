-- What was changed, and from where. Null in entries of before they were kept.
ALTER TABLE "audit_entry" ADD COLUMN "address" TEXT, ADD COLUMN "before" JSONB, ADD COLUMN "after" JSONB;
