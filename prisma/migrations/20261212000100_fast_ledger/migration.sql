-- The same in floating point: numeric arithmetic takes three times as long, and a ledger of 100,000 attempts calls this 700,000 times. Times
-- are whole milliseconds, so the result is exact.
CREATE OR REPLACE FUNCTION ms_between(first timestamptz, last timestamptz) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$
  SELECT greatest(0, round(date_part('epoch', last - first) * 1000))::bigint
$$;
