-- Most GPU time of an owner or of the runs with a label.
CREATE TABLE "budget" (
    "project_id" TEXT NOT NULL,
    "scope" TEXT NOT NULL,
    "gpu_ms" BIGINT NOT NULL,
    "per" TEXT NOT NULL,
    "warn_percent" INTEGER NOT NULL,
    "noted" TEXT,
    "created_by" TEXT NOT NULL,
    "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "updated_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,

    CONSTRAINT "budget_pkey" PRIMARY KEY ("project_id", "scope"),
    CONSTRAINT "budget_per_check" CHECK (per IN ('month', 'total')),
    CONSTRAINT "budget_warn_percent_check" CHECK (warn_percent BETWEEN 1 AND 100)
);

ALTER TABLE "run" ADD COLUMN "held_gpu_ms" BIGINT NOT NULL DEFAULT 0;
ALTER TABLE "run" ADD COLUMN "expected_gpu_ms" BIGINT;
CREATE INDEX "run_project_id_owner_held_gpu_ms_idx" ON "run" ("project_id", "owner", "held_gpu_ms");

-- Also counts attempts that never started: they held their slots.
CREATE OR REPLACE FUNCTION keep_gpu_seconds() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  UPDATE run SET gpu_seconds = gpu_seconds + NEW.slots * GREATEST(0, COALESCE(extract(epoch FROM NEW.ended_at - NEW.started_at), 0)),
                 held_gpu_ms = held_gpu_ms + NEW.slots * ms_between(NEW.created_at, NEW.ended_at)
   WHERE id = NEW.run_id;
  RETURN NULL;
END $$;
DROP TRIGGER attempt_gpu_seconds ON "attempt";
CREATE TRIGGER attempt_gpu_seconds AFTER UPDATE OF ended_at ON "attempt" FOR EACH ROW
  WHEN (OLD.ended_at IS NULL AND NEW.ended_at IS NOT NULL AND NEW.pool <> 'tasks')
  EXECUTE FUNCTION keep_gpu_seconds();

UPDATE "run" r SET held_gpu_ms = a.ms
  FROM (SELECT run_id, sum(slots * ms_between(created_at, ended_at))::bigint AS ms FROM attempt
         WHERE pool <> 'tasks' AND ended_at IS NOT NULL GROUP BY run_id) a
 WHERE a.run_id = r.id;
