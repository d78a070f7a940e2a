-- What GPU time costs, where it went, and what reuse saved.
ALTER TABLE "pool" ADD COLUMN "gpu_hour_price" DOUBLE PRECISION;
ALTER TABLE "attempt" ADD COLUMN "queued_at" TIMESTAMPTZ(3);
ALTER TABLE "attempt" ADD COLUMN "kept_at" TIMESTAMPTZ(3);
ALTER TABLE "attempt" ADD COLUMN "gpu_hour_price" DOUBLE PRECISION;
ALTER TABLE "step" ADD COLUMN "saved_gpu_ms" BIGINT;
ALTER TABLE "step" ADD COLUMN "saved_cost" DOUBLE PRECISION;

CREATE INDEX "attempt_gpu_ended" ON "attempt" ("ended_at") WHERE pool <> 'tasks';
CREATE INDEX "step_saved" ON "step" ("finished_at") WHERE saved_gpu_ms IS NOT NULL;

-- Cuts the time of an attempt, from queued to ended, at four points that are in order whatever the clocks said: created and started (it
-- holds its slots and its program does not run yet), kept (its work until here can be used), gone (its program no longer runs).
CREATE FUNCTION attempt_bounds(a attempt, upto timestamptz) RETURNS TABLE (
  queued timestamptz, created timestamptz, started timestamptz, kept timestamptz, gone timestamptz, ended timestamptz
) LANGUAGE sql IMMUTABLE AS $$
  SELECT least(a.created_at, coalesce(a.queued_at, a.created_at)), a.created_at, started,
         CASE WHEN a.state = 'succeeded' THEN gone ELSE least(gone, greatest(started, a.kept_at)) END, gone, ended
    FROM (SELECT ended, started, CASE WHEN a.state = 'lost' THEN least(ended, greatest(started, a.last_contact_at)) ELSE ended END AS gone
            FROM (SELECT ended, least(ended, greatest(a.created_at, coalesce(a.started_at, ended))) AS started
                    FROM (SELECT greatest(a.created_at, coalesce(a.ended_at, upto)) AS ended) AS e) AS s) AS g
$$;

CREATE FUNCTION ms_between(first timestamptz, last timestamptz) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$
  SELECT greatest(0, extract(epoch FROM last - first) * 1000)::bigint
$$;

-- The useful GPU time of the attempts that worked for an artifact: those since the same step last had a result.
CREATE FUNCTION artifact_cost(wanted text, OUT gpu_ms bigint, OUT cost double precision) LANGUAGE sql STABLE AS $$
  SELECT COALESCE(sum(spent.ms), 0)::bigint, sum(spent.ms * spent.gpu_hour_price / 3600000)
    FROM (SELECT a.slots * ms_between(b.started, b.kept) AS ms, a.gpu_hour_price
            FROM artifact f
            JOIN step s ON s.run_id = f.run_id AND s.name = f.step_name
            JOIN attempt a ON a.step_id = s.id AND a.pool <> 'tasks' AND a.ended_at IS NOT NULL
           CROSS JOIN LATERAL attempt_bounds(a, a.ended_at) b
           WHERE f.id = wanted AND a.created_at < f.ready_at
             AND NOT EXISTS (SELECT 1 FROM artifact e WHERE e.project_id = f.project_id AND e.step_name = f.step_name AND e.run_id = f.run_id
                                AND e.ready_at < f.ready_at AND e.ready_at > a.created_at)) AS spent
$$;

-- Kept in the step, because the artifact and its cost may be gone when the ledger is read.
CREATE FUNCTION keep_saved() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  NEW.saved_gpu_ms := NULL;
  NEW.saved_cost := NULL;
  IF NEW.state = 'reused' THEN
    SELECT c.gpu_ms, c.cost INTO NEW.saved_gpu_ms, NEW.saved_cost FROM artifact_cost(NEW.artifact_id) c;
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER step_saved BEFORE UPDATE OF state ON "step" FOR EACH ROW
  WHEN (NEW.state <> OLD.state AND 'reused' IN (NEW.state, OLD.state)) EXECUTE FUNCTION keep_saved();
CREATE TRIGGER new_step_saved BEFORE INSERT ON "step" FOR EACH ROW WHEN (NEW.state = 'reused') EXECUTE FUNCTION keep_saved();

-- The price at the end of the attempt: a later price changes no history.
CREATE FUNCTION keep_price() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  NEW.gpu_hour_price := (SELECT p.gpu_hour_price FROM pool p WHERE p.name = NEW.pool);
  RETURN NEW;
END $$;
CREATE TRIGGER attempt_price BEFORE UPDATE OF ended_at ON "attempt" FOR EACH ROW
  WHEN (OLD.ended_at IS NULL AND NEW.ended_at IS NOT NULL) EXECUTE FUNCTION keep_price();

UPDATE "attempt" a SET kept_at = c.at FROM (SELECT attempt_id, max(created_at) AS at FROM checkpoint GROUP BY attempt_id) c WHERE c.attempt_id = a.id;
UPDATE "step" SET saved_gpu_ms = (artifact_cost(artifact_id)).gpu_ms WHERE state = 'reused';
