alter table "step" add column "loader_bytes" bigint not null default 0;

-- Of steps that were submitted before: as libs/domain/loader-bytes.ts computes it.
update "step"
   set "loader_bytes" = ("settings"->>'ranks')::bigint * ("settings"->>'loaderWorkers')::bigint * ("settings"->>'batch')::bigint
                        * ("settings"->>'imageSize')::bigint * ("settings"->>'imageSize')::bigint * 12
 where "kind" = 'train' and ("settings"->>'loaderWorkers')::bigint > 0;
