-- Secrets of triggers and the like, sealed with a key that the database does not have.
CREATE TABLE "sealed_secret" (
    "id" TEXT NOT NULL,
    "project_id" TEXT NOT NULL,
    "owner_id" TEXT NOT NULL,
    "key_id" TEXT NOT NULL,
    "sealed" BYTEA NOT NULL,
    "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "expires_at" TIMESTAMPTZ(3),

    CONSTRAINT "sealed_secret_pkey" PRIMARY KEY ("id")
);
CREATE INDEX "sealed_secret_owner_id_idx" ON "sealed_secret"("owner_id");
CREATE INDEX "sealed_secret_project_id_key_id_id_idx" ON "sealed_secret"("project_id", "key_id", "id");
