-- How many lines of the run's history an attempt has reported: it may not fill the table.
ALTER TABLE "attempt" ADD COLUMN "reported_lines" INTEGER NOT NULL DEFAULT 0;
