-- What lists of runs are sorted by, kept in the run's row so that each order has an index.
ALTER TABLE "run" ADD COLUMN "updated_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP;
ALTER TABLE "run" ADD COLUMN "map_best" DOUBLE PRECISION;
ALTER TABLE "run" ADD COLUMN "map_last" DOUBLE PRECISION;
ALTER TABLE "run" ADD COLUMN "gpu_seconds" DOUBLE PRECISION NOT NULL DEFAULT 0;
ALTER TABLE "run" ADD COLUMN "request" JSONB;

DROP INDEX "run_created_at_id_idx";
CREATE INDEX "run_project_id_created_at_id_idx" ON "run" ("project_id", "created_at", "id");
CREATE INDEX "run_project_id_updated_at_id_idx" ON "run" ("project_id", "updated_at", "id");
CREATE INDEX "run_project_id_name_id_idx" ON "run" ("project_id", "name", "id");
CREATE INDEX "run_project_id_state_id_idx" ON "run" ("project_id", "state", "id");
CREATE INDEX "run_project_id_gpu_seconds_id_idx" ON "run" ("project_id", "gpu_seconds", "id");
CREATE INDEX "run_score" ON "run" ("project_id", "map_best", "id") WHERE map_best IS NOT NULL;
CREATE INDEX "run_without_score" ON "run" ("project_id", "id") WHERE map_best IS NULL;

-- Every event of a run raises its seq.
CREATE FUNCTION run_updated() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  NEW.updated_at := now();
  RETURN NEW;
END $$;
CREATE TRIGGER run_updated BEFORE UPDATE OF seq ON "run" FOR EACH ROW WHEN (NEW.seq <> OLD.seq) EXECUTE FUNCTION run_updated();

-- The score of a step, 0 to 1, as libs/db/read/scores.ts defines it: that of its result, else what was reported last.
CREATE FUNCTION score_of(scores jsonb, kind text, details jsonb) RETURNS double precision LANGUAGE sql IMMUTABLE AS $$
  SELECT CASE WHEN jsonb_typeof(v) = 'number' THEN v::double precision END
    FROM (SELECT COALESCE(
      NULLIF(CASE kind WHEN 'evaluation' THEN details #> '{mapAt100,kaggle,all}' WHEN 'checkpoint' THEN details -> 'mapAt100End' END, 'null'),
      scores -> 'mapAt100', scores -> 'mapAt100.end', scores -> 'mapAt100.epoch') AS v) AS found
$$;

CREATE FUNCTION run_scores(wanted text) RETURNS TABLE (best double precision, last double precision) LANGUAGE sql STABLE AS $$
  SELECT max(score), (array_agg(score ORDER BY position DESC))[1]
    FROM (SELECT s.position, score_of(s.scores, f.kind, f.details) AS score
            FROM step s LEFT JOIN artifact f ON f.id = s.artifact_id AND f.state = 'ready'
           WHERE s.run_id = wanted) AS scored
   WHERE score IS NOT NULL
$$;

CREATE FUNCTION keep_run_scores() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  UPDATE run r SET map_best = s.best, map_last = s.last
    FROM run_scores(NEW.run_id) s
   WHERE r.id = NEW.run_id AND (r.map_best, r.map_last) IS DISTINCT FROM (s.best, s.last);
  RETURN NULL;
END $$;
CREATE TRIGGER step_scores AFTER UPDATE OF state, scores ON "step" FOR EACH ROW
  WHEN (NEW.scores IS DISTINCT FROM OLD.scores OR (NEW.state <> OLD.state AND NEW.state IN ('succeeded', 'reused', 'blocked')))
  EXECUTE FUNCTION keep_run_scores();
-- A step of a new run may reuse a result at once.
CREATE TRIGGER new_step_scores AFTER INSERT ON "step" FOR EACH ROW WHEN (NEW.state = 'reused') EXECUTE FUNCTION keep_run_scores();

CREATE FUNCTION keep_gpu_seconds() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  UPDATE run SET gpu_seconds = gpu_seconds + NEW.slots * GREATEST(0, extract(epoch FROM NEW.ended_at - NEW.started_at)) WHERE id = NEW.run_id;
  RETURN NULL;
END $$;
CREATE TRIGGER attempt_gpu_seconds AFTER UPDATE OF ended_at ON "attempt" FOR EACH ROW
  WHEN (OLD.ended_at IS NULL AND NEW.ended_at IS NOT NULL AND NEW.started_at IS NOT NULL AND NEW.pool <> 'tasks')
  EXECUTE FUNCTION keep_gpu_seconds();

UPDATE "run" r SET
  updated_at = COALESCE((SELECT max(e.at) FROM event e WHERE e.run_id = r.id), r.created_at),
  map_best = s.best,
  map_last = s.last,
  gpu_seconds = COALESCE((SELECT sum(a.slots * GREATEST(0, extract(epoch FROM a.ended_at - a.started_at)))
                            FROM attempt a WHERE a.run_id = r.id AND a.pool <> 'tasks' AND a.ended_at IS NOT NULL), 0)
  FROM "run" o CROSS JOIN LATERAL run_scores(o.id) s WHERE o.id = r.id;

-- Sign-ins of browsers, by the SHA-256 of the cookie.
CREATE TABLE "session" (
    "hash" TEXT NOT NULL,
    "token_id" TEXT NOT NULL,
    "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "expires_at" TIMESTAMPTZ(3) NOT NULL,

    CONSTRAINT "session_pkey" PRIMARY KEY ("hash")
);
CREATE INDEX "session_token_id_created_at_idx" ON "session" ("token_id", "created_at");
CREATE INDEX "session_expires_at_idx" ON "session" ("expires_at");
ALTER TABLE "session" ADD CONSTRAINT "session_token_id_fkey" FOREIGN KEY ("token_id") REFERENCES "token" ("id") ON DELETE CASCADE ON UPDATE CASCADE;

-- Records of checkpoints stay when their files are removed.
ALTER TABLE "checkpoint" ADD COLUMN "verified_at" TIMESTAMPTZ(3);
ALTER TABLE "checkpoint" ADD COLUMN "removed_at" TIMESTAMPTZ(3);

-- Line feeds of a chunk, so that a range of lines is found without reading the log; null: not counted yet.
ALTER TABLE "log_chunk" ADD COLUMN "lines" INTEGER;

-- Nodes on whose account attempts failed lately.
CREATE INDEX "attempt_avoid_node" ON "attempt" ("ended_at") WHERE avoid_node IS NOT NULL;
