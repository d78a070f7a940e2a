-- Names of model versions that move, with their history.
CREATE TABLE "alias_move" (
    "id" BIGSERIAL NOT NULL,
    "project_id" TEXT NOT NULL,
    "model" TEXT NOT NULL,
    "alias" TEXT NOT NULL,
    "action" TEXT NOT NULL,
    "from_version" INTEGER,
    "to_version" INTEGER,
    "reason" TEXT NOT NULL,
    "actor" TEXT NOT NULL,
    "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,

    CONSTRAINT "alias_move_pkey" PRIMARY KEY ("id"),
    CONSTRAINT "alias_move_action_check" CHECK (action IN ('set', 'rollback', 'remove')),
    CONSTRAINT "alias_move_to_check" CHECK ((action = 'remove') = (to_version IS NULL))
);
CREATE INDEX "alias_move_project_id_model_alias_id_idx" ON "alias_move"("project_id", "model", "alias", "id" DESC);

-- The history cannot be rewritten, not even by a defect of a program.
-- Semicolons are escaped, as the migration engine ends a statement at each of them, even within quotes.
CREATE FUNCTION alias_move_is_final() RETURNS trigger LANGUAGE plpgsql
  AS E'BEGIN RAISE EXCEPTION ''alias_move is a history: rows are never changed or deleted''\x3b END\x3b';
CREATE TRIGGER alias_move_is_final BEFORE UPDATE OR DELETE OR TRUNCATE ON "alias_move"
  FOR EACH STATEMENT EXECUTE FUNCTION alias_move_is_final();
