-- A collection asks for each artifact whether a model has it.
CREATE FUNCTION text_values(object jsonb) RETURNS text[] LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT coalesce(array_agg(value), '{}') FROM jsonb_each_text(object)
$$;
CREATE INDEX "model_artifacts" ON "model" USING gin (text_values("artifacts")) WHERE "removed_at" IS NULL;

-- The runs that evaluate the baseline of a gate on the data of another run.
CREATE INDEX "run_of_gate" ON "run" ("project_id", (origin->>'model'), (origin->>'version')) WHERE origin->>'kind' = 'gate';
