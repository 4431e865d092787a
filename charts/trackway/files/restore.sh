# Restores the databases of all services from a dump, each in one transaction, so that it is there whole or as it was.
# The services must be stopped, or they would write between the old and the new.
set -eu
cd /backups
name=${FROM:-$(ls -d ????????T??????Z 2>/dev/null | tail -n 1)}
[ -d "${name:-none}" ] || { echo "There is no dump ${name:-at all}." >&2; exit 1; }
for secret in /run/secrets/databases/*; do
  service=$(basename "$secret")
  url=$(cat "$secret/url")
  pg_restore --file=/dev/null "$name/$service.dump" # can all of it be read?
  others=$(psql -X -A -t -d "$url" -c "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'")
  [ "$others" = 0 ] || { echo "$others connections use the database $service: stop the services first." >&2; exit 1; }
done
for secret in /run/secrets/databases/*; do
  service=$(basename "$secret")
  url=$(cat "$secret/url")
  # What a dump does not know, such as a table of a newer version, must not stay. The owner of the database may make
  # the schema anew. For psql the end of its input is the end of the data too, so only a pg_restore that has come to its
  # own end is followed by COMMIT, and by a last word.
  last=$({ echo 'BEGIN; SET client_min_messages = warning; DROP SCHEMA public CASCADE; CREATE SCHEMA public;'
    pg_restore --file=- --no-owner --no-privileges "$name/$service.dump" && printf 'COMMIT;\n\\echo committed\n'; } |
    grep -a -v -x -e 'CREATE SCHEMA public;' | psql -X -q -v ON_ERROR_STOP=1 -d "$url" | tail -n 1)
  [ "$last" = committed ] || { echo "$service is as it was: not all of the dump could be restored." >&2; exit 1; }
  # Events are read in the order of their transactions, and only below those in flight. Where the dump is of another
  # server that has seen more transactions, this one has to catch up.
  psql -X -q -v ON_ERROR_STOP=1 -d "$url" <<'SQL'
SET synchronous_commit = off;
DO $$
DECLARE
  seen xid8;
BEGIN
  SELECT max(xid) INTO seen FROM events;
  WHILE pg_current_xact_id() <= seen LOOP
    COMMIT;
  END LOOP;
END $$;
SQL
  echo "Restored $service from $name."
done
