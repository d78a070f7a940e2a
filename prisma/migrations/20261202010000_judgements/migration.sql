-- What quality gates decided about runs.
CREATE TABLE "judgement" (
    "id" BIGSERIAL NOT NULL,
    "run_id" TEXT NOT NULL,
    "verdict" TEXT NOT NULL,
    "details" JSONB NOT NULL,
    "actor" TEXT NOT NULL,
    "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,

    CONSTRAINT "judgement_pkey" PRIMARY KEY ("id"),
    CONSTRAINT "judgement_verdict_check" CHECK (verdict IN ('passed', 'failed', 'inconclusive')),
    CONSTRAINT "judgement_run_id_fkey" FOREIGN KEY ("run_id") REFERENCES "run"("id") ON DELETE RESTRICT ON UPDATE CASCADE
);
CREATE INDEX "judgement_run_id_id_idx" ON "judgement"("run_id", "id" DESC);
ALTER TABLE "run" DROP CONSTRAINT "run_verdict_check";
ALTER TABLE "run" ADD CONSTRAINT "run_verdict_check" CHECK (verdict IN ('none', 'passed', 'failed', 'inconclusive'));
