-- Tensors that a person brought in, and which of them a step reads.
ALTER TABLE "step" ADD COLUMN "given" JSONB NOT NULL DEFAULT '[]';

CREATE TABLE "weights" (
    "id" TEXT NOT NULL,
    "project_id" TEXT NOT NULL,
    "owner" TEXT NOT NULL,
    "name" TEXT NOT NULL,
    "content" TEXT NOT NULL,
    "backbone" TEXT NOT NULL,
    "extent" TEXT NOT NULL,
    "sha256" TEXT NOT NULL,
    "bytes" BIGINT NOT NULL,
    "source" TEXT,
    "licence" TEXT,
    "embedding_dim" INTEGER,
    "classes" INTEGER,
    "artifact_id" TEXT NOT NULL,
    "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,

    CONSTRAINT "weights_pkey" PRIMARY KEY ("id"),
    CONSTRAINT "weights_content_check" CHECK (content IN ('backbone', 'model')),
    CONSTRAINT "weights_extent_check" CHECK (extent IN ('all', 'upstream'))
);

CREATE UNIQUE INDEX "weights_project_id_name_key" ON "weights"("project_id", "name");
ALTER TABLE "weights" ADD CONSTRAINT "weights_artifact_id_fkey" FOREIGN KEY ("artifact_id") REFERENCES "artifact"("id") ON DELETE RESTRICT ON UPDATE CASCADE;
