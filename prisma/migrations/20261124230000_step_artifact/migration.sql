-- Whoever waits for a result is found by it.
CREATE INDEX "step_artifact_id_idx" ON "step"("artifact_id");
