-- A code host is reported to with a token, or as a GitHub App.
ALTER TABLE "code_host" ADD COLUMN "app_id" TEXT;
