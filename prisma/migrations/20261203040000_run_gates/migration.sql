-- The gate of a submission, which a controller judges once its run has succeeded.
ALTER TABLE "run"
    ADD COLUMN "gate" JSONB,
    ADD COLUMN "gate_state" TEXT,
    ADD COLUMN "gate_generation" INTEGER NOT NULL DEFAULT 0,
    ADD COLUMN "gate_problem" TEXT,
    ADD COLUMN "gate_not_before" TIMESTAMPTZ(3),
    ADD CONSTRAINT "run_gate_state_check" CHECK (gate_state IN ('waiting', 'judging', 'judged', 'refused')),
    ADD CONSTRAINT "run_gate_check" CHECK ((gate IS NULL) = (gate_state IS NULL));
CREATE INDEX "run_judging" ON "run" ("id") WHERE gate_state = 'judging';
ALTER TABLE "judgement" ADD COLUMN "gate_generation" INTEGER;
CREATE UNIQUE INDEX "judgement_run_id_gate_generation_key" ON "judgement"("run_id", "gate_generation");
