alter table "dataset" add column "files" jsonb;
