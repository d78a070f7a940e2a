alter table "run" add column "later" integer not null default 7;
create table "later" ("id" integer primary key);
