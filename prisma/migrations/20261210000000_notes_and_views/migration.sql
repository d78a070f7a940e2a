-- What people write about a run after it was submitted.
ALTER TABLE "run" ADD COLUMN "note" TEXT;
ALTER TABLE "run" ADD COLUMN "note_by" TEXT;
ALTER TABLE "run" ADD COLUMN "note_at" TIMESTAMPTZ(3);
ALTER TABLE "run" ADD COLUMN "tags" TEXT[] DEFAULT ARRAY[]::TEXT[];

-- Runs that have all of the given tags: tags @> '{baseline}'.
CREATE INDEX "run_tags_idx" ON "run" USING GIN ("tags");

-- Pages of the dashboard with their filters, under a name.
CREATE TABLE "saved_view" (
    "project_id" TEXT NOT NULL,
    "owner" TEXT NOT NULL,
    "name" TEXT NOT NULL,
    "page" TEXT NOT NULL,
    "query" TEXT NOT NULL,
    "is_shared" BOOLEAN NOT NULL DEFAULT false,
    "updated_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,

    CONSTRAINT "saved_view_pkey" PRIMARY KEY ("project_id", "owner", "name")
);
