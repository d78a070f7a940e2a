-- Why an attempt is asked to stop. What was written before has only the sentence for people.
ALTER TABLE "attempt" ADD COLUMN "stop_cause" TEXT;
UPDATE "attempt" SET stop_cause = CASE
    WHEN stop_reason LIKE 'cancelled%' THEN 'cancelled'
    WHEN stop_reason LIKE 'the step failed%' THEN 'step_failed'
    ELSE 'preempted' END
  WHERE stop_reason IS NOT NULL;
ALTER TABLE "attempt" ADD CONSTRAINT "attempt_stop_cause_check" CHECK (stop_cause IN ('cancelled', 'step_failed', 'preempted'));
